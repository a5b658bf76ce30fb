package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthcheck_AsksTheProcessBesideIt(t *testing.T) {
	_, environment := migrated(t)
	_, port, _ := strings.Cut(freeAddress(t), ":")
	environment = append(environment, "SENDER_ADMIN_ADDR=:"+port, "HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1")
	runProgram(t, environment, "healthcheck").requireOneLine(t, 1, "no process answers on :"+port, "connection refused")

	cmd := command(t, environment, "run")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	awaitStatus(t, "127.0.0.1:"+port, "/readyz", "", http.StatusOK)
	runProgram(t, environment, "healthcheck").requireDone(t, "ok")
	runProgram(t, environment, "healthcheck", "--ready").requireDone(t, "ok")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())

	runProgram(t, []string{"SENDER_ADMIN_ADDR="}, "healthcheck").requireOneLine(t, 2, "SENDER_ADMIN_ADDR is empty")
	runProgram(t, []string{"SENDER_ADMIN_ADDR=9464"}, "healthcheck").requireOneLine(t, 2, "SENDER_ADMIN_ADDR must be HOST:PORT")
}
