package deployment

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fedsender/fedsender/sender"
)

// pod is the part of a rendered object that has to do with the program.
type pod struct {
	TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
	Containers                    []struct {
		Args []string `yaml:"args"`
		Env  []struct {
			Name  string `yaml:"name"`
			Value string `yaml:"value"`
		} `yaml:"env"`
	} `yaml:"containers"`
}

// pods are those that the chart makes with these values.
func pods(t *testing.T, values string) (all []pod) {
	t.Helper()
	for _, document := range strings.Split(read(t, "test/deployment/charts/rendered/"+values), "---\n") {
		var object struct {
			Spec struct {
				Template struct {
					Spec pod `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		ok(t, yaml.Unmarshal([]byte(document), &object))
		if p := object.Spec.Template.Spec; len(p.Containers) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// What is rendered is rendered by Helm, which takes minutes to compile: the tests here see to it that this was done.
func TestChart_WasRenderedAsItIs(t *testing.T) {
	sum := sha256.New()
	for _, dir := range []string{"deploy/helm/fedsender", "test/deployment/charts/values"} {
		files := os.DirFS(filepath.Join(root, dir))
		ok(t, fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, path)
			fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
			return err
		}))
	}
	if fmt.Sprintf("%x\n", sum.Sum(nil)) != read(t, "test/deployment/charts/rendered/chart.sha256") {
		t.Error("the chart has changed since it was rendered; run: make charts RENDER=1")
	}
}

func TestChart_FitsTheProgram(t *testing.T) {
	for _, values := range []string{"least.yaml", "keda.yaml", "cpu.yaml"} {
		runs := 0
		for _, p := range pods(t, values) {
			container := p.Containers[0]
			environment := map[string]string{}
			for _, variable := range container.Env {
				environment[variable.Name] = variable.Value
			}
			requireKnown(t, values, environment)
			config, err := sender.ParseConfig(withoutFiles(environment))
			ok(t, err)
			if container.Args[0] != "run" {
				continue
			}
			runs++
			if grace := time.Duration(p.TerminationGracePeriodSeconds) * time.Second; grace < config.ShutdownTimeout+10*time.Second {
				t.Errorf("%s: killed %s after SIGTERM, and may need %s", values, grace, config.ShutdownTimeout)
			}
		}
		if runs != 1 {
			t.Errorf("%s has %d senders", values, runs)
		}
	}
}
