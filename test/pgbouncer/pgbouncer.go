package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/postgres"
)

// Mode says how long a client keeps the server connection that it was given.
type Mode string

const (
	Session     Mode = "session"     // until it leaves
	Transaction Mode = "transaction" // until its transaction ends
	Statement   Mode = "statement"   // until its statement ends; transactions of several are refused
)

// superuser is the role that every private server has.
const superuser = "postgres"

// Options says what pooler is wanted.
type Options struct {
	Mode     Mode
	Roles    []string          // that may connect besides the superuser; their passwords are not asked for
	Settings map[string]string // go into pgbouncer.ini and win over those of this package
}

// Pooler is a PgBouncer in front of every database of one server. Its methods are safe for several goroutines.
type Pooler struct {
	program   string
	port      int
	companion *postgres.Companion
}

// Installed says whether there is a PgBouncer on this machine (Debian: apt-get install pgbouncer).
func Installed() bool { return find() != "" }

func find() string {
	// Debian's place is not in the PATH of everybody.
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Start blocks until the pooler has let a client through to the server; ctx bounds only that. The caller must Close it
// before the server.
func Start(ctx context.Context, server *postgres.Server, options Options) (_ *Pooler, err error) {
	p := &Pooler{program: find()}
	if p.program == "" {
		return nil, errors.New("start PgBouncer: there is none on this machine; install it (Debian: apt-get install pgbouncer)")
	}
	if p.companion, err = server.Companion("pgbouncer"); err != nil {
		return nil, err
	}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := p.configure(server, options); err != nil {
		return nil, fmt.Errorf("configure PgBouncer: %w", err)
	}
	return p, p.launch(ctx)
}

func (p *Pooler) configure(server *postgres.Server, options Options) error {
	settings := map[string]string{
		"listen_addr":     "127.0.0.1",
		"listen_port":     strconv.Itoa(p.port),
		"unix_socket_dir": "",
		"pool_mode":       string(options.Mode),
		"auth_type":       "trust",
		"auth_file":       filepath.Join(p.companion.Dir(), "users"),
		"admin_users":     superuser,
		// One for each client in session mode, and a server's usual 100 connections are not used up.
		"default_pool_size": "60",
	}
	maps.Copy(settings, options.Settings)
	var text strings.Builder
	fmt.Fprintf(&text, "[databases]\n* = host=%s port=%d\n\n[pgbouncer]\n", server.SocketDir(), server.Port())
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = %s\n", name, settings[name])
	}
	users := fmt.Sprintf("%s %s\n", quote(superuser), quote(server.Password()))
	for _, role := range options.Roles {
		users += quote(role) + ` ""` + "\n"
	}
	return errors.Join(p.companion.WriteFile("pgbouncer.ini", text.String()), p.companion.WriteFile("users", users))
}

func quote(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

func (p *Pooler) launch(ctx context.Context) error {
	if err := p.companion.Start(ctx, p.program, filepath.Join(p.companion.Dir(), "pgbouncer.ini")); err != nil {
		return err
	}
	if err := p.waitReady(ctx); err != nil {
		return errors.Join(err, p.Stop())
	}
	return nil
}

func (p *Pooler) waitReady(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, p.URL(superuser))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("start PgBouncer: %w: %w: %s", context.Cause(ctx), err, p.Log())
		case <-p.companion.Ended():
			return fmt.Errorf("start PgBouncer: it ended at once: %s", p.Log())
		}
	}
}

// URL is a connection string of the superuser through the pooler.
func (p *Pooler) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(superuser), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Log is what the pooler has logged.
func (p *Pooler) Log() string {
	text, err := os.ReadFile(filepath.Join(p.companion.Dir(), "log"))
	if err != nil {
		return ""
	}
	return string(text)
}

// Stop ends the pooler at once, and with it every client's connection and every server's.
func (p *Pooler) Stop() error { return p.companion.Stop(syscall.SIGTERM) }

// Restart stops the pooler if it runs and starts it on the same port. It blocks until it lets clients through.
func (p *Pooler) Restart(ctx context.Context) error {
	if err := p.Stop(); err != nil {
		return err
	}
	return p.launch(ctx)
}

// Close ends the pooler. It may be called twice.
func (p *Pooler) Close() error { return p.Stop() }

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
