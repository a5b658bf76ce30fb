package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What can't be run here is at least about values that the chart has.
func TestKubernetes_EveryValueIsOneOfTheChart(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(root + "docs/kubernetes.md")
	ok(t, err)
	text, err := os.ReadFile(root + "deploy/helm/fedsender/values.yaml")
	ok(t, err)
	var values map[string]any
	ok(t, yaml.Unmarshal(text, &values))
	named := regexp.MustCompile(`--set(?:-string)? '?([\w.]+)=`).FindAllStringSubmatch(string(page), -1)
	if len(named) < 5 {
		t.Errorf("only %d values were looked up", len(named))
	}
	for _, n := range named {
		if n[1] != "env.SENDER_USER_AGENT" && !hasValue(values, strings.Split(n[1], ".")) {
			t.Errorf("the chart has no value %s", n[1])
		}
	}
}

func hasValue(values map[string]any, path []string) bool {
	found, there := values[path[0]]
	if !there || len(path) == 1 {
		return there
	}
	below, isMap := found.(map[string]any)
	return isMap && hasValue(below, path[1:])
}
