package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal of that size: the end of the program's and ours.
func terminal(t *testing.T, columns, lines uint16) (theirs, ours *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ours.Close() })
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}))
	return theirs, ours
}

// onTerminal runs the program there, interrupts it once it has shown the text, and returns all that it wrote.
func onTerminal(t *testing.T, columns uint16, environment []string, shows string, arguments ...string) string {
	t.Helper()
	theirs, ours := terminal(t, columns, 24)
	cmd := command(t, environment, arguments...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout = theirs
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	var written strings.Builder
	var interrupted time.Time
	var reading conc.WaitGroup
	reading.Go(func() {
		part := make([]byte, 4096)
		for {
			n, err := ours.Read(part)
			written.Write(part[:n])
			if interrupted.IsZero() && strings.Contains(written.String(), shows) {
				interrupted = time.Now()
				_ = cmd.Process.Signal(os.Interrupt)
			}
			if err != nil { // EIO: the other end is closed
				return
			}
		}
	})
	require.NoError(t, cmd.Wait(), "an interrupt is no failure")
	reading.Wait()
	require.Less(t, time.Since(interrupted), 2*time.Second)
	return strings.ReplaceAll(written.String(), "\r\n", "\n")
}

func TestStatus_WatchRedrawsInPlaceAndLeavesTheLastPictureBehind(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	execute(t, conn, `
		update fedsender.queue_state set fail_count = 5, last_retry_at = now() where instance_id = 1;
		update fedsender.instance_health set last_error = '503 メンテナンス中です。 Service Unavailable, please try again later' where instance_id = 1;`)
	o := onTerminal(t, 60, environment, eraseBelow, "status", "--watch")
	require.True(t, strings.HasPrefix(o, alternateScreen), "%q", o)
	_, after, found := strings.Cut(o, mainScreen)
	require.True(t, found)
	require.Contains(t, after, "toad.example")
	require.Contains(t, o, red+"failing"+plain)

	for _, width := range []uint16{44, 60, 80, 200} {
		o := onTerminal(t, width, append(environment, "NO_COLOR=1"), "queue:", "status")
		require.NotContains(t, o, "\x1b")
		for line := range strings.Lines(o) {
			require.LessOrEqual(t, columns(strings.TrimSuffix(line, "\n")), int(width), line)
		}
		require.Equal(t, width > 44, strings.Contains(o, "LAST ERROR"), o)
	}
}

func TestStatus_WatchFitsATerminalAtOnceAndGivesItBackToTheShell(t *testing.T) {
	t.Parallel()
	url, environment := migrated(t)
	conn := fill(t, url)
	execute(t, conn, `
		insert into fedsender.instance (domain) select 'n' || g || '.example' from generate_series(1, 40) g;
		update fedsender.queue_state set fail_count = 1, last_retry_at = now()`)
	theirs, ours := terminal(t, 80, 24)
	cmd := command(t, environment, "status", "--watch")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout = theirs
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	var said strings.Builder
	part := make([]byte, 4096)
	until := func(text string) string {
		from := said.Len()
		for !strings.Contains(said.String()[from:], text) {
			n, err := ours.Read(part)
			require.NoError(t, err, said.String())
			said.Write(part[:n])
		}
		return said.String()[from:]
	}
	require.Equal(t, 23, strings.Count(until(eraseBelow), "\n"), "all lines but the last, where the cursor stands")
	require.NoError(t, unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 200, Row: 50}))
	require.NoError(t, cmd.Process.Signal(unix.SIGWINCH))
	until("DEAD LETTERS") // has no room in 80 columns
	until(eraseBelow)
	require.NoError(t, cmd.Process.Signal(unix.SIGTSTP))
	until(mainScreen)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	}, 10*time.Second, time.Millisecond, "it is stopped")
	require.NoError(t, cmd.Process.Signal(unix.SIGCONT))
	until(alternateScreen)
	until(eraseBelow)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	until(mainScreen)
	rest, _ := io.ReadAll(ours) // EIO: the other end is closed
	require.NoError(t, cmd.Wait())
	require.NotContains(t, string(rest), alternateScreen)
}

func TestStatus_WatchGoesOnWithoutATerminalInBlocksAndOutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	url, environment := migrated(t)
	cfg, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	name := cfg.Database
	cfg.Database = "postgres"
	server, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer server.Close(context.WithoutCancel(t.Context()))
	cmd := command(t, environment, "status", "--watch")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	part := make([]byte, 4096)
	until := func(text string) {
		for from := said.Len(); !strings.Contains(said.String()[from:], text); {
			n, err := out.Read(part)
			require.NoError(t, err, said.String())
			said.Write(part[:n])
		}
	}
	until("No sender process is running")
	execute(t, server, `alter database `+name+` allow_connections false`)
	execute(t, server, `select pg_terminate_backend(pid) from pg_stat_activity where datname = '`+name+`'`)
	until("below is what was seen last: ")
	until("No sender process is running")
	execute(t, server, `alter database `+name+` allow_connections true`)
	until("every 2s, Ctrl-C ends")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, _ = io.Copy(io.Discard, out)
	require.NoError(t, cmd.Wait())
	require.NotContains(t, said.String(), "\x1b")
}
