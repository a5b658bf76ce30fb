package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// supervisor is what a service manager hears.
type supervisor struct{ *net.UnixConn }

func newSupervisor(t *testing.T) (s supervisor, environment string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return supervisor{socket}, "NOTIFY_SOCKET=" + path
}

// next returns the next message that has the field, and those before it.
func (s supervisor) next(t *testing.T, field string) (before []string) {
	t.Helper()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(30*time.Second)))
	message := make([]byte, 4096)
	for {
		n, err := s.Read(message)
		require.NoError(t, err, "waiting for %s after %q", field, before)
		said := string(message[:n])
		if slices.Contains(strings.Split(said, "\n"), field) {
			return before
		}
		before = append(before, said)
	}
}

func TestRun_TellsTheServiceManager(t *testing.T) {
	s, socket := newSupervisor(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(t.Context(), "app")
	require.NoError(t, err)
	runProgram(t, []string{"DATABASE_URL=" + database}, "migrate").requireDone(t)
	cmd := command(t, []string{"DATABASE_URL=" + database, "SENDER_ADMIN_ADDR=", socket, "WATCHDOG_USEC=3000000"}, "run")
	log := &journal{}
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()

	s.next(t, "READY=1")
	s.next(t, "WATCHDOG=1")
	hangUp(t, cmd)
	s.next(t, "RELOADING=1")
	s.next(t, "READY=1")

	t.Log("an outage of the database is no reason to be killed")
	require.NoError(t, server.Stop(postgres.Immediate))
	s.next(t, "STATUS=not delivering: there is no lease session")
	log.await(t, "no lease session")
	s.next(t, "WATCHDOG=1")
	s.next(t, "WATCHDOG=1")

	t.Log("a process that hangs says nothing")
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	quiet := make([]byte, 4096)
	require.Eventually(t, func() bool {
		require.NoError(t, s.SetReadDeadline(time.Now().Add(1500*time.Millisecond)))
		_, err := s.Read(quiet)
		return err != nil
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	s.next(t, "WATCHDOG=1")

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	s.next(t, "STOPPING=1")
	require.NoError(t, cmd.Wait(), log.String())
}
