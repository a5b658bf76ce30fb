package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
)

// StopMode is how a server ends, in the words of pg_ctl.
type StopMode string

const (
	Smart     StopMode = "smart"     // when the last client has left
	Fast      StopMode = "fast"      // clients are disconnected, a checkpoint is written
	Immediate StopMode = "immediate" // like a crash: the next start recovers
)

var stopSignals = map[StopMode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}

const (
	// stopWithin is far above a checkpoint of a test's data; a smart stop is not bounded.
	stopWithin = 60 * time.Second
	// askEvery is how often a starting server is asked whether it is ready; it takes some 50 ms.
	askEvery = 10 * time.Millisecond
)

// errPortTaken means that somebody else took the port before the server could.
var errPortTaken = errors.New("the port is taken")

// process is a program that this process has started.
type process struct {
	pid   int
	done  chan struct{} // closed when it has ended
	err   error         // how it ended, set before done is closed
	group conc.WaitGroup
}

// startProcess starts and reaps the command from a thread of its own: the kernel sends the death signal when that
// thread ends, and Go may end any other.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	p.group.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	})
	if err := <-started; err != nil {
		p.group.Wait()
		return nil, err
	}
	return p, nil
}

// launchOnce starts the server on s.port and waits until it takes connections. Callers hold mu.
func (s *Server) launchOnce(ctx context.Context) error {
	// Not ctx: that bounds the start, and the server lives on.
	cmd := s.command(context.WithoutCancel(ctx), "postgres", s.arguments()...)
	log, err := os.Create(s.home.path("log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own descriptor
	cmd.Stdout, cmd.Stderr = log, log
	if s.options.Log != nil {
		both := io.MultiWriter(log, s.options.Log)
		cmd.Stdout, cmd.Stderr = both, both
		cmd.WaitDelay = time.Second
	}
	if s.process, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.stop(Immediate))
	}
	return nil
}

func (s *Server) waitReady(ctx context.Context) error {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.socketURL(superuser, s.port))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("start Postgres: %w: %w: %s", context.Cause(ctx), err, s.serverLog())
		case <-s.process.done:
			text := s.serverLog()
			if strings.Contains(text, "Address already in use") {
				return fmt.Errorf("start Postgres on port %d: %w", s.port, errPortTaken)
			}
			return fmt.Errorf("start Postgres: it ended at once: %s", text)
		}
	}
}

// stop ends the process if there is one. Callers hold mu.
func (s *Server) stop(mode StopMode) error {
	signal, known := stopSignals[mode]
	if !known {
		return fmt.Errorf("unknown stop mode %q", mode)
	}
	if s.process == nil {
		return nil
	}
	select {
	case <-s.process.done: // its process id may be somebody else's by now
	default:
		if err := send(s.process.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop Postgres: %w", err)
		}
	}
	var late <-chan time.Time
	if mode != Smart {
		timer := time.NewTimer(stopWithin)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-s.process.done:
		s.process.group.Wait()
	case <-late:
		err = errors.Join(fmt.Errorf("stop Postgres: still running after %s", stopWithin), s.process.kill())
	}
	s.process = nil
	return err
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
