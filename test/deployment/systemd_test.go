package deployment

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/sender"
)

const unit, template = "deploy/systemd/sender.service", "deploy/systemd/sender@.service"

// setting is the last value that a unit gives a directive.
func setting(t *testing.T, text, directive string) string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^`+directive+`=(.*)$`).FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		t.Fatalf("the unit has no %s", directive)
	}
	return all[len(all)-1][1]
}

func TestUnits_WaitForTheDrainAndForSignsOfLife(t *testing.T) {
	config, err := sender.ParseConfig(map[string]string{})
	ok(t, err)
	for _, path := range []string{unit, template} {
		text := read(t, path)
		stop, err := strconv.Atoi(setting(t, text, "TimeoutStopSec"))
		ok(t, err)
		if time.Duration(stop)*time.Second < config.ShutdownTimeout+10*time.Second {
			t.Errorf("%s: killed after %d s", path, stop)
		}
		if setting(t, text, "Type") != "notify" || setting(t, text, "WatchdogSec") != "60" {
			t.Errorf("%s does not listen", path)
		}
		for _, variable := range regexp.MustCompile(`\b(SENDER_\w+|DATABASE_URL\w*)=`).FindAllStringSubmatch(text, -1) {
			requireKnown(t, path, map[string]string{variable[1]: ""})
		}
	}
}

func TestUnits_AreTheSameButForTheName(t *testing.T) {
	strip := func(text string) string {
		var kept []string
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "#") && !strings.Contains(line, "%i") && !strings.HasPrefix(line, "Description=") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "\n")
	}
	if one, several := strip(read(t, unit)), strip(read(t, template)); one != several {
		t.Errorf("they differ:\n%s\n%s", one, several)
	}
}

func TestUnits_SystemdUnderstandsThem(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze on this machine")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	ok(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	for _, path := range []string{unit, template} {
		text := strings.ReplaceAll(read(t, path), "/usr/local/bin/sender", program)
		installed := filepath.Join(dir, filepath.Base(path))
		ok(t, os.WriteFile(installed, []byte(text), 0o600))
		if said, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", installed).CombinedOutput(); err != nil || strings.Contains(string(said), dir) {
			t.Errorf("%s: %v\n%s", path, err, said)
		}
		said, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", installed).CombinedOutput()
		if err != nil && strings.Contains(string(said), "exposure") {
			t.Errorf("%s is more exposed than 1.5 of 10:\n%s", path, said)
		}
	}
}
