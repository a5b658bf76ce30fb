package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// sending starts sender run on a database whose one delivery a receiver does not answer.
func sending(t *testing.T, url string, more ...string) (cmd *exec.Cmd, log *bytes.Buffer) {
	t.Helper()
	environment := []string{"DATABASE_URL=" + url}
	conn := fill(t, url)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encoded := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	_, err = conn.Exec(t.Context(), `update fedsender.actor set private_key_pem = $1`, string(encoded))
	require.NoError(t, err)

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	cmd = command(t, append(append(environment, "SENDER_ADMIN_ADDR=", "SENDER_ALLOW_HTTP=on",
		"SENDER_REQUEST_TIMEOUT=5m", "SENDER_CONNECT_TO="+silent.Addr().String(), "SENDER_ADMIN_TOKEN="+token), more...), "run")
	log = &bytes.Buffer{}
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	runWith(t, document("https://here.example/a/1"), environment, "enqueue", "-", "--actor", "https://here.example/u/ann",
		"--inbox", "http://toad.example/inbox").requireDone(t)
	inFlight, err := silent.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = inFlight.Close() })
	_, err = inFlight.Read(make([]byte, 1)) // what is connected may not have left yet
	require.NoError(t, err)
	return cmd, log
}

func requireExit(t *testing.T, code int, cmd *exec.Cmd, log *bytes.Buffer) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	require.Equal(t, code, cmd.ProcessState.ExitCode(), log.String())
	require.NotContains(t, log.String(), token)
	require.NotContains(t, log.String(), "PRIVATE KEY")
}

func TestRun_ASecondSignalEndsItAtOnce(t *testing.T) {
	url, _ := migrated(t)
	cmd, log := sending(t, url, "SENDER_SHUTDOWN_TIMEOUT=5m")
	began := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	ended := make(chan struct{})
	go func() {
		again := time.NewTicker(sameSignal / 5)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				_ = cmd.Process.Signal(os.Interrupt) // it may have ended
			case <-ended:
				return
			}
		}
	}()
	requireExit(t, 1, cmd, log)
	close(ended)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, 1, strings.Count(log.String(), "sender: ended at once by a second signal"), log.String())
	require.NotContains(t, log.String(), "saved")
}

func TestRun_SaysThatTheShutdownTimeoutCutDeliveriesOff(t *testing.T) {
	url, _ := migrated(t)
	cmd, log := sending(t, url, "SENDER_SHUTDOWN_TIMEOUT=1s")
	// Two at one time are one wish. They differ, because the kernel would join two of the same.
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	requireExit(t, 0, cmd, log)
	require.Contains(t, log.String(), "stopped; deliveries to 1 instance were cut off by the shutdown time-out")
	require.NotContains(t, log.String(), "all is saved")
}

func TestRun_SaysThatCursorsCouldNotBeWritten(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	url, err := server.CreateDatabase(t.Context(), "app")
	require.NoError(t, err)
	runProgram(t, []string{"DATABASE_URL=" + url}, "migrate").requireDone(t)
	cmd, log := sending(t, url, "SENDER_SHUTDOWN_TIMEOUT=1s")
	require.NoError(t, server.Stop(postgres.Immediate))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	requireExit(t, 1, cmd, log)
	require.Contains(t, log.String(), "stopped; cursors could not be written: the last deliveries to 1 instance may be sent again")
	require.NotContains(t, log.String(), "all is saved")
}
