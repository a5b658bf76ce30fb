package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRun_ASecondSignalEndsItAtOnce(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encoded := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	_, err = conn.Exec(t.Context(), `update fedsender.actor set private_key_pem = $1`, string(encoded))
	require.NoError(t, err)

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	cmd := command(t.Context(), append(environment, "SENDER_ADMIN_ADDR=", "SENDER_ALLOW_HTTP=on", "SENDER_SHUTDOWN_TIMEOUT=5m",
		"SENDER_REQUEST_TIMEOUT=5m", "SENDER_CONNECT_TO="+silent.Addr().String(), "SENDER_ADMIN_TOKEN="+token), "run")
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	runWith(t, document("https://here.example/a/1"), environment, "enqueue", "-", "--actor", "https://here.example/u/ann",
		"--inbox", "http://toad.example/inbox").requireDone(t)

	inFlight, err := silent.Accept()
	require.NoError(t, err)
	defer inFlight.Close()
	began := time.Now()
	// Two different ones: the kernel would join two of the same.
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	err = cmd.Wait()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), log.String())
	require.Equal(t, 1, exit.ExitCode(), log.String())
	require.Less(t, time.Since(began), 10*time.Second)
	require.NotContains(t, log.String(), token)
	require.NotContains(t, log.String(), "PRIVATE KEY")
}
