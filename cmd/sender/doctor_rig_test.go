package main

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// patient is a server and a database on it with which nothing is wrong, until a fault is provoked.
type patient struct {
	t      *testing.T
	server *postgres.Server
	url    string
	db     *pgxpool.Pool
	fedi   *fediverse.Fediverse
	env    []string
	before string   // what a shell does before it becomes the program
	undo   []func() // of one fault
}

func newPatient(t *testing.T) *patient {
	ctx := t.Context()
	options := postgres.Options{Durable: true, Settings: map[string]string{"max_connections": "40", "max_wal_size": "64MB"}}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		options.Disk = 512 << 20 // in memory: what is durable is told by settings, and each database that is made waits for the disk
	}
	server, err := postgres.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	p := &patient{t: t, server: server}
	p.url, err = server.CreateDatabase(ctx, "app")
	require.NoError(t, err)
	require.NoError(t, fleet.Migrate(ctx, p.url))
	p.db, err = pgxpool.New(ctx, p.url)
	require.NoError(t, err)
	t.Cleanup(p.db.Close)
	p.fedi, err = fediverse.Start(fediverse.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.fedi.Close()) })
	_, err = fleet.Seed(ctx, p.db, p.fedi, fleet.Seeding{Actors: 2, Instances: 3})
	require.NoError(t, err)
	p.env = []string{"DATABASE_URL=" + p.url, "SENDER_CONNECT_TO=" + p.fedi.Addr(), "SENDER_CA_FILE=" + p.fedi.CAFile()}
	return p
}

// exec runs the statements of one simple query, so that alter system may stand in it.
func (p *patient) exec(sql string) {
	p.t.Helper()
	cfg, err := pgx.ParseConfig(p.url)
	require.NoError(p.t, err)
	cfg.RuntimeParams["default_transaction_read_only"] = "off" // whatever is provoked
	conn, err := pgx.ConnectConfig(p.t.Context(), cfg)
	require.NoError(p.t, err)
	defer conn.Close(context.WithoutCancel(p.t.Context()))
	_, err = conn.Exec(p.t.Context(), sql)
	require.NoError(p.t, err, sql)
}

// sql provokes a fault that the second text takes back.
func sql(provoke, undo string) func(p *patient) []string {
	return func(p *patient) []string {
		p.exec(provoke)
		if undo != "" {
			p.undo = append(p.undo, func() { p.exec(undo) })
		}
		return nil
	}
}

// setting changes one that the server reads again, and waits until new sessions have it.
func setting(name, value string) func(p *patient) []string {
	return func(p *patient) []string {
		wait := func(want func(now string) bool) {
			require.Eventually(p.t, func() bool {
				conn, err := pgx.Connect(p.t.Context(), p.url)
				if err != nil {
					return false
				}
				defer conn.Close(context.WithoutCancel(p.t.Context()))
				var now string
				err = conn.QueryRow(p.t.Context(), `select current_setting($1)`, name).Scan(&now)
				return err == nil && want(now)
			}, 10*time.Second, 5*time.Millisecond)
		}
		alter := func(change string) {
			p.exec(change)
			p.exec(`select pg_reload_conf()`)
		}
		alter(`alter system set ` + name + ` = '` + value + `'`)
		wait(func(now string) bool { return now == value })
		p.undo = append(p.undo, func() {
			alter(`alter system reset ` + name)
			wait(func(now string) bool { return now != value })
		})
		return nil
	}
}

// pretend puts another one in the place of a view or function of the system, which is called true_ and its name meanwhile: some
// faults take hours, or a second machine.
func pretend(kind, name, is string) func(p *patient) []string {
	bare, arguments, _ := strings.Cut(name, "(")
	if arguments != "" {
		arguments = "(" + arguments
	}
	replaced, granted := kind+" pg_catalog."+name, ""
	if kind == "view" {
		granted = `; grant select on pg_catalog.` + name + ` to public`
	}
	return sql(`set allow_system_table_mods = on; alter `+replaced+` rename to true_`+bare+`; create `+replaced+` `+is+granted,
		`set allow_system_table_mods = on; drop `+replaced+`; alter `+kind+` pg_catalog.true_`+bare+arguments+` rename to `+bare)
}

// session keeps one open that has run the statements.
func session(name, statements string) func(p *patient) []string {
	return func(p *patient) []string {
		cfg, err := pgx.ParseConfig(p.url)
		require.NoError(p.t, err)
		cfg.RuntimeParams["application_name"] = name
		conn, err := pgx.ConnectConfig(p.t.Context(), cfg)
		require.NoError(p.t, err)
		p.undo = append(p.undo, func() {
			_ = conn.Close(context.WithoutCancel(p.t.Context()))
			require.Eventually(p.t, func() bool { // its locks go with it
				var left int
				err := p.db.QueryRow(p.t.Context(), `select count(*) from pg_stat_activity where pid = $1`, conn.PgConn().PID()).Scan(&left)
				return err == nil && left == 0
			}, 10*time.Second, 5*time.Millisecond)
		})
		_, err = conn.Exec(p.t.Context(), statements)
		require.NoError(p.t, err)
		return nil
	}
}

// as makes doctor connect as a role that was made by the statements.
func as(role, statements string) func(p *patient) []string {
	return func(p *patient) []string {
		p.exec(`create role ` + role + ` login; ` + statements)
		p.undo = append(p.undo, func() { p.exec(`drop owned by ` + role + `; drop role ` + role) })
		return []string{"DATABASE_URL=" + p.urlOf(role, "app")}
	}
}

func (p *patient) urlOf(role, database string) string {
	u, err := url.Parse(p.url)
	require.NoError(p.t, err)
	u.User, u.Path = url.User(role), "/"+database
	return u.String()
}

// database makes another one and leads doctor to it.
func database(options string, fill func(ctx context.Context, url string) error) func(p *patient) []string {
	return func(p *patient) []string {
		p.exec(`create database other ` + options)
		p.undo = append(p.undo, func() { require.NoError(p.t, p.server.DropDatabase(p.t.Context(), "other")) })
		other := p.urlOf("postgres", "other")
		if fill != nil {
			require.NoError(p.t, fill(p.t.Context(), other))
		}
		return []string{"DATABASE_URL=" + other}
	}
}

// silent is an address that takes connections and says nothing.
func silent(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// website answers for example.com with these headers, and says which file has the certificate that makes it trusted.
func website(p *patient, header http.Header) (address, caFile string) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust it hangs up
	server.StartTLS()
	p.undo = append(p.undo, server.Close)
	caFile = filepath.Join(p.t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(p.t, os.WriteFile(caFile, text, 0o600))
	return server.Listener.Addr().String(), caFile
}

// diagnose runs doctor and returns what it found, and its exit code.
func (p *patient) diagnose(env []string, args ...string) (found []pg.Finding, o outcome) {
	cmd := command(p.t, append(append([]string{}, p.env...), env...), append([]string{"doctor", "--json"}, args...)...)
	if p.before != "" {
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", p.before + `exec "$0" "$@"`}, cmd.Args...)
	}
	o = run(p.t, cmd)
	require.Empty(p.t, o.errors)
	o.decode(p.t, &found)
	return found, o
}

func (p *patient) heal() {
	for i := len(p.undo) - 1; i >= 0; i-- {
		p.undo[i]()
	}
	p.undo = nil
}
