package deployment

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fedsender/fedsender/sender"
)

// compose is the part of a Compose file that has to do with the program.
type compose struct {
	Services map[string]service `yaml:"services"`
}

type service struct {
	Image           string            `yaml:"image"`
	Entrypoint      []string          `yaml:"entrypoint"`
	Command         []string          `yaml:"command"`
	Environment     map[string]string `yaml:"environment"`
	ReadOnly        bool              `yaml:"read_only"`
	CapDrop         []string          `yaml:"cap_drop"`
	StopGracePeriod time.Duration     `yaml:"stop_grace_period"`
}

func readCompose(t *testing.T, path string) (c compose) {
	t.Helper()
	ok(t, yaml.Unmarshal([]byte(read(t, path)), &c))
	return c
}

func TestCompose_TheServicesFitTheProgram(t *testing.T) {
	for _, path := range []string{"deploy/compose/demo.yaml", "deploy/compose/application.yaml"} {
		ours := 0
		for name, s := range readCompose(t, path).Services {
			if s.Image != "fedsender" {
				continue
			}
			ours++
			requireKnown(t, path, s.Environment)
			config, err := sender.ParseConfig(withoutFiles(s.Environment))
			ok(t, err)
			switch {
			case !s.ReadOnly || strings.Join(s.CapDrop, "") != "ALL":
				t.Errorf("%s: %s may write, or more", path, name)
			case s.Command[0] == "run" && s.StopGracePeriod < config.ShutdownTimeout+10*time.Second:
				t.Errorf("%s: %s is killed %s after SIGTERM, and may need %s", path, name, s.StopGracePeriod, config.ShutdownTimeout)
			}
		}
		if ours < 2 {
			t.Errorf("%s has %d services of ours", path, ours)
		}
	}
}

// requireKnown fails where a variable does nothing.
func requireKnown(t *testing.T, path string, environment map[string]string) {
	t.Helper()
	known := map[string]bool{}
	for _, v := range sender.Variables() {
		known[v.Name], known[v.FileName] = true, v.FileName != ""
	}
	for name := range environment {
		if !known[name] {
			t.Errorf("%s: %s is not known", path, name)
		}
	}
}

// withoutFiles are the settings of an environment whose files are not here.
func withoutFiles(environment map[string]string) map[string]string {
	kept := map[string]string{}
	for name, value := range environment {
		if !strings.HasSuffix(name, "_FILE") {
			kept[name] = value
		}
	}
	return kept
}
