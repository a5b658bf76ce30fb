package failover

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/pgbouncer"
	"github.com/fedsender/fedsender/test/postgres"
)

func startPooler(t *testing.T, server *postgres.Server, options pgbouncer.Options) *pgbouncer.Pooler {
	t.Helper()
	if !pgbouncer.Installed() {
		t.Skip("there is no PgBouncer on this machine; scripts/setup installs it on Debian")
	}
	pooler, err := pgbouncer.Start(t.Context(), server, options)
	must(t, err)
	t.Cleanup(func() {
		if err := pooler.Close(); err != nil {
			t.Error(err)
		}
	})
	return pooler
}

func TestPooler_ThatGivesSessionsAwayIsRefusedWithTheVariableToSet(t *testing.T) {
	t.Parallel()
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(t.Context(), "app")
	must(t, err)
	must(t, fleet.Migrate(t.Context(), database))
	for _, mode := range []pgbouncer.Mode{pgbouncer.Transaction, pgbouncer.Statement} {
		t.Run(string(mode), func(t *testing.T) {
			pooler := startPooler(t, server, pgbouncer.Options{Mode: mode})
			code, output := command(t, []string{"DATABASE_URL=" + pooler.URL("app"), "SENDER_ADMIN_ADDR="}, "run")
			if code != 2 || strings.Count(output, "\n") != 1 || !strings.Contains(output, "set SENDER_LEASE_DATABASE_URL") {
				t.Errorf("run: exit code %d: %s", code, output)
			}
			code, output = command(t, []string{"DATABASE_URL=" + pooler.URL("app")}, "doctor")
			if code != 1 || !strings.Contains(output, "set SENDER_LEASE_DATABASE_URL") {
				t.Errorf("doctor: exit code %d: %s", code, output)
			}
		})
	}
	t.Run("statement beside a direct one", func(t *testing.T) {
		pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Statement})
		env := []string{"DATABASE_URL=" + pooler.URL("app"), "SENDER_LEASE_DATABASE_URL=" + database, "SENDER_ADMIN_ADDR="}
		code, output := command(t, env, "run")
		if code != 2 || strings.Count(output, "\n") != 1 || !strings.Contains(output, "DATABASE_URL leads through a pooler") {
			t.Errorf("run: exit code %d: %s", code, output)
		}
		code, output = command(t, env, "doctor")
		if code != 1 || !strings.Contains(output, "pool_mode=transaction") {
			t.Errorf("doctor: exit code %d: %s", code, output)
		}
	})
}

// One server connection shows what a pooler does as well as many, unless others have it.
func TestPooler_WithoutAFreeServerConnectionIsWaitedFor(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(t.Context(), "app")
	must(t, err)
	must(t, fleet.Migrate(t.Context(), database))

	t.Run("by transaction", func(t *testing.T) {
		pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Transaction, Settings: map[string]string{"default_pool_size": "1"}})
		code, output := command(t, []string{"DATABASE_URL=" + pooler.URL("app"), "SENDER_ADMIN_ADDR="}, "run")
		if code != 2 || strings.Count(output, "\n") != 1 || !strings.Contains(output, "set SENDER_LEASE_DATABASE_URL") {
			t.Errorf("run: exit code %d: %s", code, output)
		}
	})
	for size, settings := range map[string]map[string]string{
		"too small for the look": {"default_pool_size": "2"},
		"and told so":            {"default_pool_size": "2", "query_wait_timeout": "1"},
	} {
		t.Run("by session, "+size, func(t *testing.T) {
			pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Session, Settings: settings})
			s, err := fleet.Start(fleet.Options{Binary: senderBinary(t), Name: "waiting", Database: pooler.URL("app"), ConnectTo: "127.0.0.1:1"})
			must(t, err)
			t.Cleanup(s.Kill)
			r := &rig{t: t, started: []*fleet.Sender{s}}
			r.says(ctx, "waiting for the database", "pooler", "no free server connection", "raise default_pool_size")
			if strings.Contains(s.Log(), "changes the server session") {
				t.Errorf("it was taken for a pooler by transaction:\n%s", s.Log())
			}
			must(t, s.Stop(ctx)) // it waits
		})
	}
}

func TestPooler_ByTransactionDoesAllBesideADirectLeaseConnection(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(t.Context(), "app")
	must(t, err)
	// So few that every client meets the sessions of all others, and whatever they leave in them.
	pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Transaction, Settings: map[string]string{"default_pool_size": "3"}})
	env := []string{"DATABASE_URL=" + pooler.URL("app"), "SENDER_LEASE_DATABASE_URL=" + database}
	if code, output := command(t, env, "migrate"); code != 0 {
		t.Fatalf("migrate: exit code %d: %s", code, output)
	}
	r := newRig(t, database)
	r.start(ctx, 3, env...)
	stop := r.load(ctx)
	r.progress(ctx, 1000)
	for _, verb := range [][]string{
		{"status"}, {"status", "--json", fleet.Domain(3)}, {"pause", fleet.Domain(3)}, {"resume", fleet.Domain(3)},
		{"retry", fleet.Domain(4)}, {"replay", fleet.Domain(5), "--since", "1h"}, {"dead-letters", "list"},
		{"trace", fleet.ActorID(0) + "/activities/1/1"}, {"migrate"}, {"doctor"},
	} {
		if code, output := command(t, env, verb...); code != 0 {
			t.Errorf("%s: exit code %d: %s", strings.Join(verb, " "), code, output)
		}
	}
	r.progress(ctx, 1000)
	stop()
	r.finish(ctx)
	for _, s := range r.started {
		if strings.Contains(s.Log(), "prepared statement") || strings.Contains(s.Log(), "trying again") {
			t.Errorf("%s met trouble:\n%s", s.Name, s.Log())
		}
	}
	var left int
	must(t, reader(t, database).QueryRow(ctx, `
		select count(*) from pg_locks where locktype = 'advisory' and classid <> 1717920627`).Scan(&left))
	if left > 0 {
		t.Errorf("%d locks were left in sessions of the pooler", left)
	}
}

func TestPooler_BySessionIsWarnedOfAndMayBeRestarted(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(t.Context(), "app")
	must(t, err)
	// Clients that are idle for long and server sessions that are old are ended, as many have it.
	pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Session, Settings: map[string]string{
		"client_idle_timeout": "5", "server_lifetime": "3", "server_idle_timeout": "2",
	}})
	r := newRig(t, database)
	r.start(ctx, 3, "DATABASE_URL="+pooler.URL("app"))
	r.says(ctx, "a pooler stands between")
	stop := r.load(ctx)
	r.progress(ctx, 1000)
	must(t, pooler.Restart(ctx))
	must(t, r.WaitHeld(ctx, 3))
	r.progress(ctx, 1000)
	stop()
	r.finish(ctx)
	// What the pooler gives to the next client has none of the locks of the one before.
	for _, s := range r.Senders() {
		must(t, s.Stop(ctx))
	}
	var left int
	must(t, r.DB.QueryRow(ctx, `select count(*) from pg_locks where locktype = 'advisory'`).Scan(&left))
	if left > 0 {
		t.Errorf("%d locks were left in sessions of the pooler", left)
	}
}

func TestPooler_ThatResetsNothingKeepsNoLocksInTheNextLeaseSession(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(ctx, "app")
	must(t, err)
	pooler := startPooler(t, server, pgbouncer.Options{Mode: pgbouncer.Session, Settings: map[string]string{"server_reset_query": ""}})
	killed, err := pgx.Connect(ctx, pooler.URL("app"))
	must(t, err)
	_, err = killed.Exec(ctx, `select pg_advisory_lock($1::int, 1)`, pg.LeaseClass)
	must(t, err)
	must(t, killed.Close(ctx))
	db := reader(t, database)
	locks := func() (n int) {
		must(t, db.QueryRow(ctx, `select count(*) from pg_locks where locktype = 'advisory'`).Scan(&n))
		return n
	}
	if locks() != 1 {
		t.Fatal("the pooler has reset the session")
	}
	config, err := pg.ParseConfig(pooler.URL("app"))
	must(t, err)
	session, err := pg.OpenLeaseSession(ctx, config, "next", 0, slog.New(slog.DiscardHandler))
	must(t, err)
	defer session.Close()
	if n := locks(); n != 0 {
		t.Errorf("%d locks of the client before are left", n)
	}
}
