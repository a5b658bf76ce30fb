package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
)

// superuser is the role of every URL.
const superuser = "postgres"

// portTries bounds how often another port is drawn when somebody else took the one that was free a moment ago.
const portTries = 5

// Options says what server is wanted. The zero value is a fast one that trusts everybody on this machine.
type Options struct {
	// Settings go into postgresql.conf and win over those of this package.
	Settings map[string]string
	// Durable leaves fsync, synchronous_commit and full_page_writes on, so that the data outlive Kill and inserts cost
	// what they cost in production.
	Durable bool
	// Password makes the server ask for a generated one (scram-sha-256) with characters that a URL must escape.
	Password bool
	// TLS makes the server take encrypted connections besides plain ones; see CAFile.
	TLS bool
	// Binaries says where the programs come from. AutoBinaries when empty.
	Binaries Binaries
	// Repository is the Maven repository of EmbeddedBinaries; the central one when empty.
	Repository string
	// Port of 127.0.0.1. A free one when 0.
	Port int
	// Addresses are more of this machine's to listen on besides 127.0.0.1, such as 10.7.0.1/24 of a test's own network.
	// They must be there when the server starts. Clients of the prefix are let in.
	Addresses []netip.Prefix
	// Disk puts the data on a disk of their own that has so many bytes (a tmpfs, which only root may mount; Linux); see
	// [Server.FillDisk]. 192 MiB hold an empty server and a small test. 0: they are where everything else is.
	Disk int64
	// Log gets what the server logs. It must be safe for a goroutine of its own.
	Log io.Writer
}

// Server is a running server. Its methods are safe for several goroutines.
type Server struct {
	options  Options
	binaries string // directory of initdb and postgres
	owner    *owner
	home     *home
	password string

	mu      sync.Mutex // held while the process starts or stops
	port    int
	process *process // nil when stopped
	closed  bool
}

// Start makes a data directory and starts a server in it. It blocks until the server takes connections; ctx bounds
// only that. The caller must Close the server.
func Start(ctx context.Context, options Options) (_ *Server, err error) {
	s := &Server{options: options, port: options.Port}
	if s.owner, err = serverOwner(); err != nil {
		return nil, err
	}
	if s.home, err = newHome(s.owner); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.mountDisk(); err != nil {
		return nil, err
	}
	if s.binaries, err = findBinaries(options, s.owner, s.home); err != nil {
		return nil, err
	}
	if options.Password {
		s.password = newPassword()
	}
	if err := s.initialise(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.launch(ctx)
}

// launch starts the process and waits until it takes connections. Callers hold mu.
func (s *Server) launch(ctx context.Context) error {
	for try := 1; ; try++ {
		if s.port == 0 || (try > 1 && s.options.Port == 0) {
			port, err := freePort()
			if err != nil {
				return err
			}
			s.port = port
		}
		err := s.launchOnce(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errPortTaken) || s.options.Port != 0 || try == portTries {
			return err
		}
	}
}

// Port is the port on 127.0.0.1. It stays the same over Restart.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port
}

// SocketDir is the directory of the Unix socket, as in host=… of a connection string.
func (s *Server) SocketDir() string { return s.home.sockets() }

// DataDir is the data directory.
func (s *Server) DataDir() string { return s.home.data() }

// Password is the superuser's, empty when the server asks for none.
func (s *Server) Password() string { return s.password }

// CAFile is the certificate to trust (sslrootcert) when TLS was asked for. It is good for 127.0.0.1 and localhost.
func (s *Server) CAFile() string {
	if !s.options.TLS {
		return ""
	}
	return s.home.path("root.crt")
}

// PID is the postmaster's process id, 0 when it is stopped.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.pid
}

// CreateDatabase makes an empty database and returns its [Server.URL].
func (s *Server) CreateDatabase(ctx context.Context, name string) (string, error) {
	if err := s.exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return s.URL(name), nil
}

// DropDatabase drops it, ending the sessions that use it. One that does not exist is no error.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if err := s.exec(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.SocketURL(superuser))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// Stop ends the server as the mode says (the words of pg_ctl) and waits for it; the data stay. A stopped server is
// no error. A smart stop waits for the clients to leave.
func (s *Server) Stop(mode StopMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop(mode)
}

// Kill ends the server and every process of it with SIGKILL, as a crash of its machine would.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	err := s.process.kill()
	s.process = nil
	return err
}

// Restart stops the server (fast) if it runs and starts it on the same port and data. It blocks until the server
// takes connections, crash recovery included.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the Postgres server is closed")
	}
	if err := s.stop(Fast); err != nil {
		return err
	}
	return s.launchOnce(ctx)
}

// Close ends the server and removes all that it has. It may be called twice.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	// The data are thrown away, so nothing is gained by a checkpoint.
	err := s.stop(Immediate)
	return errors.Join(err, s.home.remove())
}

// serverLog is the end of what the server said, for errors.
func (s *Server) serverLog() string {
	const most = 4 << 10
	text, err := os.ReadFile(s.home.path("log"))
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-most):])
}

func (s *Server) arguments() []string {
	return []string{"-D", s.home.data(), "-p", strconv.Itoa(s.port)}
}

func (s *Server) program(name string) string { return filepath.Join(s.binaries, name) }
