package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Companion is a program beside a server, such as a pooler, that runs as the server's user in a directory of its own and
// ends with us. The directory goes with the server. Its methods are safe for several goroutines.
type Companion struct {
	server *Server
	dir    string

	mu      sync.Mutex
	process *process // nil when stopped
}

// Companion makes the directory of one. The caller must Stop it before the server is closed.
func (s *Server) Companion(name string) (*Companion, error) {
	dir, err := os.MkdirTemp(s.home.dir, name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for %s: %w", name, err)
	}
	return &Companion{server: s, dir: dir}, s.owner.own(dir)
}

// Dir is its directory, which the program may write.
func (c *Companion) Dir() string { return c.dir }

// WriteFile makes or replaces a file in its directory that only the program can read.
func (c *Companion) WriteFile(name, text string) error {
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return c.server.owner.own(path)
}

// Start starts the program, whose output goes to the file log in its directory. It does not wait until that is ready, and
// ctx does not end it.
func (c *Companion) Start(ctx context.Context, program string, arguments ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		return fmt.Errorf("start %s: it runs", program)
	}
	cmd := c.server.command(context.WithoutCancel(ctx), program, arguments...)
	cmd.Dir = c.dir
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the program has its own descriptor
	cmd.Stdout, cmd.Stderr = log, log
	if c.process, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}

// Ended is closed when the program has ended; nil when there is none.
func (c *Companion) Ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil
	}
	return c.process.done
}

// Stop ends the program with the signal and waits for it; one that does not end within 10 s is killed and reported. A
// stopped program is no error.
func (c *Companion) Stop(signal syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.process
	if p == nil {
		return nil
	}
	c.process = nil
	defer p.group.Wait()
	select {
	case <-p.done: // its process id may be somebody else's by now
		return nil
	default:
	}
	if err := send(p.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("process %d did not end", p.pid), send(p.pid, syscall.SIGKILL))
	}
}
