//go:build linux

package network_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestEnter_HasNothingButItsLoopback(t *testing.T) {
	devices, err := net.Interfaces()
	ok(t, err)
	for _, d := range devices {
		if d.Name != "lo" {
			t.Errorf("there is a device %s", d.Name)
		}
		if d.Flags&net.FlagUp == 0 {
			t.Errorf("%s is down", d.Name)
		}
	}
}

func TestEnter_PassesArgumentsOutputAndExitCode(t *testing.T) {
	output, err := again(t, "exit", "-test.v=true").Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("ended with %v, want exit code 7", err)
	}
	if string(output) != "inside with -test.v=true\n" {
		t.Errorf("said %q", output)
	}
}

// waiting starts a run with a host and returns it with its namespaces, and what it still says.
func waiting(t *testing.T) (cmd *exec.Cmd, spaces []string, output io.Reader) {
	t.Helper()
	cmd = again(t, "wait")
	pipe, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	lines := bufio.NewReader(pipe)
	for range 2 {
		line, err := lines.ReadString('\n')
		ok(t, err)
		spaces = append(spaces, strings.TrimSpace(line))
	}
	if spaces[0] == spaces[1] {
		t.Fatal("the command is not on the host")
	}
	return cmd, spaces, lines
}

// inhabited says whether any process is in the namespace.
func inhabited(t *testing.T, space string) bool {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/ns/net")
	ok(t, err)
	for _, p := range processes {
		if its, err := os.Readlink(p); err == nil && its == space {
			return true
		}
	}
	return false
}

func awaitEmpty(t *testing.T, spaces []string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, space := range spaces {
		for inhabited(t, space) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is still inhabited", space)
			}
		}
	}
}

func TestEnter_PassesSignals(t *testing.T) {
	cmd, spaces, output := waiting(t)
	ok(t, cmd.Process.Signal(syscall.SIGTERM))
	_, _ = io.Copy(io.Discard, output)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("ended with %v, want exit code 143", err)
	}
	awaitEmpty(t, spaces)
}

func TestEnter_RunThatIsKilledLeavesNothing(t *testing.T) {
	cmd, spaces, output := waiting(t)
	for _, space := range spaces {
		if !inhabited(t, space) {
			t.Errorf("%s is not inhabited", space)
		}
	}
	ok(t, cmd.Process.Kill())
	_, _ = io.Copy(io.Discard, output)
	_ = cmd.Wait() // killed
	awaitEmpty(t, spaces)
}
