package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// program is the built binary.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fedsender-cmd-")
	if err == nil {
		program = filepath.Join(dir, "sender")
		var said []byte
		if said, err = exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=v0.0.1-test", "-o", program, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := postgres.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// outcome is how a run of the program ended.
type outcome struct {
	code        int
	out, errors string
}

// command is the program in an environment without settings but these.
func command(ctx context.Context, environment []string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, arguments...)
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
	cmd := command(t.Context(), environment, arguments...)
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
