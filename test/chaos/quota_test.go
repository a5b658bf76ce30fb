package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fleet"
)

// cpuGroups is where cgroup v1 has the controller for CPU time. Making groups needs root.
const cpuGroups = "/sys/fs/cgroup/cpu"

// quota lets a sender have so many percent of one processor, in slices of 100 ms. It fails where that can't be done.
func (r *rig) quota(s *fleet.Sender, percent int) error {
	group := filepath.Join(cpuGroups, fmt.Sprintf("fedsender-test-%d", s.PID()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	removeWhenEmpty(r.t, group)
	const period = 100_000 // µs
	for _, setting := range []struct {
		name  string
		value int
	}{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", period * percent / 100}, {"cgroup.procs", s.PID()}} {
		if err := os.WriteFile(filepath.Join(group, setting.name), fmt.Append(nil, setting.value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeWhenEmpty removes a group at the end of the test. The senders, which end later, leave it first.
func removeWhenEmpty(t *testing.T, group string) {
	t.Cleanup(func() {
		pids, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, pid := range strings.Fields(string(pids)) {
			_ = os.WriteFile(filepath.Join(cpuGroups, "cgroup.procs"), []byte(pid), 0o644) // it may have ended
		}
		if err = errors.Join(err, os.Remove(group)); err != nil {
			t.Error(err)
		}
	})
}
