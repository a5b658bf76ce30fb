package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// memoryGroup makes a control group that may use so many bytes, and returns the file that takes who is in it.
func memoryGroup(t *testing.T, bytes int) (members string) {
	t.Helper()
	for _, way := range []struct{ parent, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // version 1
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir, err := os.MkdirTemp(way.parent, "fedsender-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { require.NoError(t, os.Remove(dir)) })
		members = filepath.Join(dir, "cgroup.procs")
		if os.WriteFile(filepath.Join(dir, way.limit), []byte(strconv.Itoa(bytes)), 0o600) == nil {
			return members
		}
	}
	t.Skip("control groups can't be made here")
	return ""
}

func TestRun_SaysAtTheStartHowManyProcessorsAndHowMuchMemoryItUses(t *testing.T) {
	t.Parallel()
	_, environment := migrated(t)
	start := func(t *testing.T, before string, environment ...string) string {
		t.Helper()
		cmd := command(t, append(environment, "SENDER_ADMIN_ADDR="), "run")
		cmd.Args = append([]string{"sh", "-c", before + `exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		log := &journal{}
		cmd.Stderr = log
		require.NoError(t, cmd.Start())
		log.await(t, `"msg":"starting"`)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), log.String())
		_, line, _ := strings.Cut(log.String(), `"msg":"starting"`)
		line, _, _ = strings.Cut(line, "\n")
		return line
	}
	t.Run("by variables", func(t *testing.T) {
		line := start(t, "", append(environment, "GOMAXPROCS=1", "GOMEMLIMIT=300MiB")...)
		require.Contains(t, line, `"gomaxprocs":1,"gomemlimit":314572800`)
	})
	t.Run("by the container", func(t *testing.T) {
		const limit = 256 << 20
		members := memoryGroup(t, limit)
		line := start(t, "echo $$ > "+members+"; ", environment...)
		require.Contains(t, line, `"gomemlimit":`+strconv.Itoa(limit*9/10))
	})
}
