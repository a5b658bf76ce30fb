package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// program builds the binary where a test first wants it. The fuzzer starts this test binary once for each processor, and its
// workers want none.
var program = sync.OnceValues(func() (path string, err error) {
	if programDir, err = os.MkdirTemp("", "fedsender-cmd-"); err != nil {
		return "", err
	}
	path = filepath.Join(programDir, "sender")
	said, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=v0.0.1-test", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return path, nil
})

var programDir string

func TestMain(m *testing.M) {
	code := postgres.Main(m)
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	os.Exit(code)
}

// outcome is how a run of the program ended.
type outcome struct {
	code        int
	out, errors string
}

// command is the program in an environment without settings but these.
func command(t *testing.T, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), path, arguments...)
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "SENDER_") && !strings.HasPrefix(name, "DATABASE_URL") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, environment...)
	return cmd
}

func runProgram(t *testing.T, environment []string, arguments ...string) outcome {
	t.Helper()
	return runWith(t, "", environment, arguments...)
}

func runWith(t *testing.T, input string, environment []string, arguments ...string) outcome {
	t.Helper()
	cmd := command(t, environment, arguments...)
	cmd.Stdin = strings.NewReader(input)
	return run(t, cmd)
}

func run(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), said.String()}
}

// requireOneLine checks that a failure is one line on standard error and nothing else.
func (o outcome) requireOneLine(t *testing.T, code int, says ...string) {
	t.Helper()
	require.Equal(t, code, o.code, "%+v", o)
	require.Empty(t, o.out)
	require.Equal(t, 1, strings.Count(o.errors, "\n"), o.errors)
	require.True(t, strings.HasPrefix(o.errors, "sender: "), o.errors)
	for _, part := range says {
		require.Contains(t, o.errors, part)
	}
}

func (o outcome) requireDone(t *testing.T, says ...string) {
	t.Helper()
	require.Equal(t, 0, o.code, "%+v", o)
	require.Empty(t, o.errors)
	for _, part := range says {
		require.Contains(t, o.out, part)
	}
}

func (o outcome) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(o.out), into), o.out)
}

// migrated makes a database with the schema and returns the environment that leads to it.
func migrated(t *testing.T) (url string, environment []string) {
	t.Helper()
	url = postgres.Database(t)
	environment = []string{"DATABASE_URL=" + url}
	runProgram(t, environment, "migrate").requireDone(t)
	return url, environment
}
