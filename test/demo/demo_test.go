package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// patience is for a machine that is busy with other things; the small demo takes some ten seconds.
const patience = 100 * time.Second

// show is a demo of few servers and few activities, with a directory of its own for all that is temporary.
type show struct {
	*exec.Cmd
	temp   string
	errors bytes.Buffer
}

func newShow(t *testing.T) *show {
	t.Helper()
	// Not t.TempDir, which another user, as whom Postgres may run, can't enter.
	temp, err := os.MkdirTemp("/tmp", "demo-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(temp) })
	require.NoError(t, os.Chmod(temp, 0o755)) // #nosec G302: for Postgres
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &show{Cmd: exec.CommandContext(ctx, program, "demo", "--instances", "20", "--activities", "40"), temp: temp}
	s.Env = append(os.Environ(), "TMPDIR="+temp)
	s.Stderr = &s.errors
	return s
}

func TestDemo_LosesNothingAndLeavesNothingBehind(t *testing.T) {
	s := newShow(t)
	out, err := s.Output()
	require.NoError(t, err, "%s%s", out, &s.errors)
	t.Logf("%s", out)
	verdict := regexp.MustCompile(`(?m)^  delivered 700, lost 0, twice [0-9]+, out of order 0, violations 0, in [0-9.]+ s$`)
	require.Regexp(t, verdict, string(out))
	require.Contains(t, string(out), "is killed (SIGKILL)")
	for line := range strings.Lines(string(out)) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
		require.NotContains(t, line, "\x1b", "colours where there is no terminal")
	}
	require.Empty(t, s.errors.String())
	s.requireNothingLeft(t)
}

func TestDemo_InterruptedAtTheKillLeavesNothingBehind(t *testing.T) {
	s := newShow(t)
	s.until(t, "is killed (SIGKILL)")
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	var failed *exec.ExitError
	require.ErrorAs(t, s.Wait(), &failed)
	require.Equal(t, 1, failed.ExitCode())
	require.Equal(t, "sender: interrupted before the end; all of it is stopped and removed\n", s.errors.String())
	s.requireNothingLeft(t)
}

func TestDemo_WhoseReaderGoesLeavesNothingBehind(t *testing.T) {
	s := newShow(t)
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Start())
	_, err = bufio.NewReaderSize(out, 16).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, out.Close())
	var failed *exec.ExitError
	require.ErrorAs(t, s.Wait(), &failed)
	require.Equal(t, 1, failed.ExitCode())
	require.Contains(t, s.errors.String(), "broken pipe")
	s.requireNothingLeft(t)
}

func TestDemo_ThatIsKilledTakesItsProcessesAlong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells children that their parent was killed")
	}
	s := newShow(t)
	s.until(t, "Three senders run")
	require.NotEmpty(t, s.processes(t), "or the search finds nothing")
	require.NoError(t, s.Process.Kill())
	require.Error(t, s.Wait())
	require.Eventually(t, func() bool { return len(s.processes(t)) == 0 }, patience, 10*time.Millisecond)

	again := newShow(t)
	again.temp, again.Env = s.temp, s.Env
	out, err := again.Output()
	require.NoError(t, err, "%s%s", out, &again.errors)
	again.requireNothingLeft(t)
}

// until starts the show and reads until it says something.
func (s *show) until(t *testing.T, says string) {
	t.Helper()
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), says) {
			// What follows goes nowhere; Wait closes it.
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
	t.Fatalf("it ended and did not say %q: %v %s", says, s.Wait(), &s.errors)
}

func (s *show) requireNothingLeft(t *testing.T) {
	t.Helper()
	require.Empty(t, s.processes(t))
	left, err := filepath.Glob(s.temp + "/*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// processes are those that have the show's directory as theirs: senders in their environment, Postgres, which writes
// over its own, as the directory that it runs in.
func (s *show) processes(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var found []string
	for _, process := range all {
		environment, _ := os.ReadFile(process + "/environ") // it may have ended
		dir, _ := os.Readlink(process + "/cwd")
		if bytes.Contains(environment, []byte("TMPDIR="+s.temp+"\x00")) || strings.HasPrefix(dir, s.temp) {
			name, _ := os.ReadFile(process + "/cmdline")
			found = append(found, process+" "+string(bytes.ReplaceAll(name, []byte{0}, []byte{' '})))
		}
	}
	return found
}
