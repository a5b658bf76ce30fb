package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replica starts a hot standby with a port, directory and the options of its own that s has, which receives what s
// writes through the Unix socket of s. It blocks until the copy takes connections; ctx bounds only that. The caller must
// Close it. Needs pg_basebackup, which Debian installs with the server; downloaded binaries have none.
func (s *Server) Replica(ctx context.Context) (_ *Server, err error) {
	r := &Server{options: s.options, binaries: s.binaries, owner: s.owner, password: s.password}
	r.options.Port = 0
	if r.home, err = newHome(r.owner); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := r.mountDisk(); err != nil {
		return nil, err
	}
	if s.options.TLS {
		text, err := os.ReadFile(s.CAFile())
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(r.home.path("root.crt"), text, 0o644); err != nil { // #nosec G306: public
			return nil, err
		}
	}
	if err := r.copyFrom(ctx, s); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.launch(ctx)
}

// Follow makes s a replica of the primary, on the port that it had. Its own data are thrown away: a primary that was
// replaced may have what the other one lacks. It blocks until s takes connections.
func (s *Server) Follow(ctx context.Context, primary *Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the Postgres server is closed")
	}
	if err := s.stop(Fast); err != nil {
		return err
	}
	removeSharedMemory(s.home.data())
	entries, err := os.ReadDir(s.home.data())
	if err != nil {
		return err
	}
	// The directory itself stays: it may be where a disk is mounted.
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(s.home.data(), entry.Name())); err != nil {
			return err
		}
	}
	if err := s.copyFrom(ctx, primary); err != nil {
		return err
	}
	return s.launch(ctx)
}

// copyFrom fills the empty data directory with a copy of the primary's that will follow it.
func (s *Server) copyFrom(ctx context.Context, primary *Server) error {
	program, err := s.backupProgram()
	if err != nil {
		return err
	}
	// Not -R: that would write the password in a way of its own.
	backup := s.command(ctx, program, "-D", s.home.data(), "-d", primary.conninfo(), "--checkpoint=fast", "--wal-method=stream", "--no-sync")
	var output bytes.Buffer
	backup.Stdout, backup.Stderr = &output, &output
	running, err := startProcess(backup)
	if err == nil {
		running.group.Wait()
		err = running.err
	}
	if err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, strings.TrimSpace(output.String()))
	}
	// What was set by Detach or by a test on the primary is not this server's.
	signal, settings := filepath.Join(s.home.data(), "standby.signal"), filepath.Join(s.home.data(), "postgresql.auto.conf")
	for path, text := range map[string]string{signal: "", settings: "primary_conninfo = " + quoteSetting(primary.conninfo()) + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := s.owner.own(path); err != nil {
			return err
		}
	}
	return s.configure()
}

// backupProgram is beside the server's, or beside what a link in PATH points to.
func (s *Server) backupProgram() (string, error) {
	beside := s.program("postgres")
	if real, err := filepath.EvalSymlinks(beside); err == nil {
		beside = real
	}
	for _, dir := range []string{s.binaries, filepath.Dir(beside)} {
		if program, err := exec.LookPath(filepath.Join(dir, "pg_basebackup")); err == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("make a replica: there is no pg_basebackup in %s; install Postgres (Debian: apt-get install postgresql)", s.binaries)
}

// conninfo names the server for programs of Postgres that run on this machine.
func (s *Server) conninfo() string {
	words := []string{"host=" + quoteConninfo(s.SocketDir()), "port=" + strconv.Itoa(s.Port()), "user=" + superuser}
	if s.password != "" {
		words = append(words, "password="+quoteConninfo(s.password))
	}
	return strings.Join(words, " ")
}

func quoteConninfo(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}

// WaitReplayed blocks until the replica has replayed all that the primary has written when this is called.
func (s *Server) WaitReplayed(ctx context.Context, primary *Server) error {
	var target string
	if err := primary.ask(ctx, `select pg_current_wal_flush_lsn()::text`, &target); err != nil {
		return fmt.Errorf("read where the primary is: %w", err)
	}
	return s.waitUntil(ctx, "the replica has replayed "+target, `select pg_last_wal_replay_lsn() >= $1::pg_lsn`, target)
}

// Detach ends what a replica receives, for good: it stays a standby that lags more and more. It blocks until nothing
// comes any more.
func (s *Server) Detach(ctx context.Context) error {
	for _, sql := range []string{`alter system set primary_conninfo = ''`, `select pg_reload_conf()`} {
		if err := s.exec(ctx, sql); err != nil {
			return fmt.Errorf("detach the replica: %w", err)
		}
	}
	return s.waitUntil(ctx, "the replica receives nothing", `select not exists (select from pg_stat_wal_receiver)`)
}

// Promote makes a replica a primary of its own. It blocks until it takes writes. The former primary is not told.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.exec(ctx, `select pg_promote(false)`); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	return s.waitUntil(ctx, "the replica is promoted", `select not pg_is_in_recovery()`)
}

func (s *Server) ask(ctx context.Context, sql string, into any, arguments ...any) error {
	conn, err := pgx.Connect(ctx, s.SocketURL(superuser))
	if err != nil {
		return err
	}
	err = conn.QueryRow(ctx, sql, arguments...).Scan(into)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

func (s *Server) waitUntil(ctx context.Context, what, sql string, arguments ...any) error {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		var done bool
		err := s.ask(ctx, sql, &done, arguments...)
		if err == nil && done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("gave up waiting until %s: %w", what, context.Cause(ctx)), err)
		case <-ticker.C:
		}
	}
}
