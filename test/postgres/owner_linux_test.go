package postgres_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fedsender/fedsender/test/postgres"
)

const ownerVariable = "FEDSENDER_TEST_OWNER"

// TestOwner is no test: it is the process that TestServer_EndsWithItsOwner kills.
func TestOwner(t *testing.T) {
	if os.Getenv(ownerVariable) == "" {
		t.Skip("only as a process of its own")
	}
	server := start(t, postgres.Options{})
	fmt.Println("SERVER", server.PID(), filepath.Dir(server.DataDir()))
	<-t.Context().Done()
}

func TestServer_EndsWithItsOwner(t *testing.T) {
	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwner$", "-test.timeout=60s")
	owner.Env = append(os.Environ(), ownerVariable+"=1")
	output, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var home string
	lines := bufio.NewScanner(output)
	for home == "" && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "SERVER") {
			if _, err := fmt.Sscanf(lines.Text(), "SERVER %d %s", &pid, &home); err != nil {
				t.Fatal(err)
			}
		}
	}
	if home == "" {
		t.Fatal("the owner started no server")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed
	if !ends(fd, 20*time.Second) {
		t.Fatal("the server outlives its owner")
	}
	if _, err := os.Stat(home); err != nil {
		t.Fatal("nothing is left to be removed:", err)
	}
	start(t, postgres.Options{})
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Errorf("the next start leaves the directory of a dead owner: %v", err)
	}
}

func ends(pidfd int, within time.Duration) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds())+1)
		if err != unix.EINTR {
			return n == 1
		}
	}
	return false
}

func TestStart_RunsDownloadedBinaries(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads 15 MB once")
	}
	server, err := postgres.Start(t.Context(), postgres.Options{Binaries: postgres.EmbeddedBinaries, Password: true, TLS: true})
	if err != nil && strings.Contains(err.Error(), "could be downloaded") {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if version := query[string](t, server.URL("postgres"), "select version()"); !strings.HasPrefix(version, "PostgreSQL 18") {
		t.Errorf("it is %s", version)
	}
}
