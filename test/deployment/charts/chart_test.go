package charts

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const chart = root + "deploy/helm/fedsender"

func values(t *testing.T, name string) (v map[string]any) {
	t.Helper()
	ok(t, yaml.UnmarshalStrict(read(t, "values/"+name+".yaml"), &v))
	return v
}

// render is `helm template release chart -f values/name.yaml`, without the notes.
func render(t *testing.T, given map[string]any) (string, error) {
	t.Helper()
	loaded, err := loader.Load(chart)
	ok(t, err)
	all, err := util.ToRenderValues(loaded, given, common.ReleaseOptions{
		Name: "release", Namespace: "federation", Revision: 1, IsInstall: true,
	}, common.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(loaded, all)
	ok(t, err)
	var out bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if text := strings.TrimSpace(files[path]); text != "" && filepath.Ext(path) == ".yaml" {
			fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", path, text)
		}
	}
	return out.String(), nil
}

func TestChart_PassesHelmsLint(t *testing.T) {
	for _, name := range []string{"least", "keda", "cpu"} {
		for _, message := range lint.RunAll(chart, values(t, name), "federation").Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, message)
			}
		}
	}
}

func TestChart_RendersWhatIsRecorded(t *testing.T) {
	for _, name := range []string{"least", "keda", "cpu"} {
		text, err := render(t, values(t, name))
		ok(t, err)
		record(t, name+".yaml", []byte(text))
	}
	record(t, "chart.sha256", []byte(digest(t)))
}

func record(t *testing.T, name string, text []byte) {
	t.Helper()
	path := filepath.Join("rendered", name)
	if *update {
		ok(t, os.MkdirAll("rendered", 0o755))
		ok(t, os.WriteFile(path, text, 0o644))
	}
	if !bytes.Equal(read(t, path), text) {
		t.Errorf("%s is not what the chart makes; run: go -C test/deployment/charts test . -update", path)
	}
}

func TestChart_RefusesWhatCannotBeMeant(t *testing.T) {
	for what, wrong := range map[string]struct {
		value any
		path  []string
	}{
		"image":        {"", []string{"image", "repository"}},
		"secret":       {"", []string{"secret", "name"}},
		"by":           {"moon", []string{"autoscaling", "by"}},
		"replicaCount": {3, []string{"replicaCount"}},
		"digest":       {"latest", []string{"image", "digest"}},
		"DATABASE_URL": {"postgres://u:p@h/d", []string{"env", "DATABASE_URL"}},
		"inboxPorts":   {[]any{0}, []string{"networkPolicy", "inboxPorts"}},
	} {
		given := values(t, "least")
		at := given
		for _, key := range wrong.path[:len(wrong.path)-1] {
			if at[key] == nil {
				at[key] = map[string]any{}
			}
			at = at[key].(map[string]any)
		}
		at[wrong.path[len(wrong.path)-1]] = wrong.value
		if _, err := render(t, given); err == nil {
			t.Errorf("%s: %v was taken", what, wrong.value)
		}
	}
}
