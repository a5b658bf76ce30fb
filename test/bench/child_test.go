package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

// child is a program that takes orders as lines and ends when there are no more: the receiver, or a peer.
type child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	mu    sync.Mutex
	said  bytes.Buffer // on standard error
}

// Write takes what the child says on standard error.
func (c *child) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.Write(text)
}

// launch starts a program. It ends with the test at the latest, or with this process, whose end closes its input.
func launch(tb testing.TB, name string, cmd *exec.Cmd) *child {
	tb.Helper()
	c := &child{name: name, cmd: cmd}
	var out io.Reader
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = c
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	c.lines = bufio.NewScanner(out)
	tb.Cleanup(func() { _ = c.stop() }) // one that was stopped before reports nothing
	return c
}

// line is the next one that it prints.
func (c *child) line() ([]byte, error) {
	if !c.lines.Scan() {
		return nil, fmt.Errorf("%s has ended: %w", c.name, errors.Join(c.lines.Err(), c.stop()))
	}
	return c.lines.Bytes(), nil
}

func (c *child) cpu() (time.Duration, error) {
	used, err := fleet.ProcessCPU(c.cmd.Process.Pid)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.name, errors.Join(err, c.stop()))
	}
	return used, err
}

// stop ends it and says what was wrong with it.
func (c *child) stop() error {
	_ = c.in.Close() // it may have ended
	if c.cmd.ProcessState != nil {
		return nil
	}
	late := time.AfterFunc(15*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Errorf("%s: %w\n%s", c.name, err, c.said.String())
	}
	return nil
}

// programs are built once, into a directory that TestMain removes.
var programs struct {
	mu  sync.Mutex
	dir string
}

// program builds a package of the module in dir and returns the executable.
func program(tb testing.TB, dir, name string) string {
	tb.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if programs.dir == "" {
		var err error
		if programs.dir, err = os.MkdirTemp("", "fedsender-bench-"); err != nil {
			tb.Fatal(err)
		}
	}
	path := filepath.Join(programs.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	build := exec.CommandContext(tb.Context(), "go", "build", "-o", path, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", name, err, output)
	}
	return path
}

func removePrograms() error {
	if programs.dir == "" {
		return nil
	}
	return os.RemoveAll(programs.dir)
}
