package results

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

var modelName = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

// Describe notes where and with what the results are measured, versions of other programs by their names. What can't be
// found out is left out.
func (r *Results) Describe(versions map[string]string) {
	r.When = time.Now().UTC().Truncate(time.Second)
	r.Machine = fmt.Sprintf("%d cores", runtime.NumCPU())
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := modelName.FindSubmatch(text); found != nil {
			r.Machine += " (" + string(found[1]) + ")"
		}
	}
	if text, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(text))
	}
	for name, version := range versions {
		if version != "" {
			r.Versions[name] = version
		}
	}
	r.Versions["Go"] = strings.TrimPrefix(runtime.Version(), "go")
}
