package pgbouncer_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/pgbouncer"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }

func start(t *testing.T, options pgbouncer.Options) *pgbouncer.Pooler {
	t.Helper()
	if !pgbouncer.Installed() {
		t.Skip("there is no PgBouncer on this machine; scripts/setup installs it on Debian")
	}
	server, err := postgres.Start(t.Context(), postgres.Options{Password: true})
	if err != nil {
		t.Fatal(err)
	}
	pooler, err := pgbouncer.Start(t.Context(), server, options)
	if err != nil {
		t.Fatal(err, server.Close())
	}
	t.Cleanup(func() {
		if err := pooler.Close(); err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return pooler
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// sessions says which backend a client has before, during and after another client's transaction.
func sessions(t *testing.T, url string) (pids [3]int) {
	t.Helper()
	conn, other := connect(t, url), connect(t, url)
	look := func(conn interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	}) (pid int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	pids[0] = look(conn)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pids[1] = look(tx)
	pids[2] = look(conn)
	return pids
}

func TestPooler_GivesAwaySessionsAsItsModeSays(t *testing.T) {
	t.Run("session", func(t *testing.T) {
		pids := sessions(t, start(t, pgbouncer.Options{Mode: pgbouncer.Session}).URL("postgres"))
		if pids[0] != pids[2] || pids[0] == pids[1] {
			t.Errorf("the backends are %v", pids)
		}
	})
	t.Run("transaction", func(t *testing.T) {
		pids := sessions(t, start(t, pgbouncer.Options{Mode: pgbouncer.Transaction}).URL("postgres"))
		if pids[0] != pids[1] || pids[0] == pids[2] {
			t.Errorf("the backends are %v", pids)
		}
	})
	t.Run("statement", func(t *testing.T) {
		conn := connect(t, start(t, pgbouncer.Options{Mode: pgbouncer.Statement}).URL("postgres"))
		if _, err := conn.Begin(t.Context()); err == nil {
			t.Error("a transaction of several statements was taken")
		}
	})
}

func TestPooler_IsRestartedOnItsPort(t *testing.T) {
	pooler := start(t, pgbouncer.Options{Mode: pgbouncer.Session})
	before := connect(t, pooler.URL("postgres"))
	if err := pooler.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := before.Ping(t.Context()); err == nil {
		t.Error("a connection outlived the pooler")
	}
	connect(t, pooler.URL("postgres"))
	if err := pooler.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), pooler.URL("postgres")); err == nil {
		t.Error("a stopped pooler took a connection")
	}
}

func TestStart_SaysWhatIsWrong(t *testing.T) {
	if !pgbouncer.Installed() {
		t.Skip("there is no PgBouncer on this machine; scripts/setup installs it on Debian")
	}
	if pooler, err := pgbouncer.Start(t.Context(), postgres.Shared(t), pgbouncer.Options{Mode: "eternal"}); err == nil {
		t.Error("it started", pooler.Close())
	}
}
