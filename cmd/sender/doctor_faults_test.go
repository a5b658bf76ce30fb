package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/pgbouncer"
)

// fault is something that is wrong, and what doctor must say of it.
type fault struct {
	name      string
	provoke   func(p *patient) (env []string)
	args      []string
	what      string
	verdict   string
	says      string // words of it
	mend      string
	also      string // what else is not ok because of it, between commas; *: anything
	pretended bool   // a view or function of the system was replaced, because the true fault takes hours or a second machine
	loose     bool   // what it says depends on the machine
}

func environment(variables ...string) func(*patient) []string {
	return func(*patient) []string { return variables }
}

const activityShift = `as select datid, datname, pid, usesysid, usename, application_name, backend_type, state,
	xact_start - interval '20 minutes' as xact_start, state_change - interval '1 minute' as state_change from pg_catalog.true_pg_stat_activity`

var faults = []fault{
	{name: "a variable is spelt wrong", provoke: environment("SENDER_MAX_INFLIGHT=5"),
		what: "configuration", verdict: pg.Warn, says: "SENDER_MAX_INFLIGHT is not known", mend: "is SENDER_MAX_IN_FLIGHT meant?"},
	{name: "few files may be open", provoke: func(p *patient) []string {
		p.before = "ulimit -n 256; "
		p.undo = append(p.undo, func() { p.before = "" })
		return nil
	}, what: "open files", verdict: pg.Warn, says: "a process may open 256", mend: "LimitNOFILE="},
	{name: "nothing listens where the database should be", provoke: environment("DATABASE_URL=postgres://app@127.0.0.1:1/app"),
		what: "database", verdict: pg.Bad, says: "connection refused", mend: "that Postgres runs there", also: "lease connection"},
	{name: "the database does not exist", provoke: func(p *patient) []string { return []string{"DATABASE_URL=" + p.urlOf("postgres", "nothing")} },
		what: "database", verdict: pg.Bad, says: "does not exist", mend: "createdb", also: "lease connection"},
	{name: "the host of the database can't be resolved", provoke: environment("DATABASE_URL=postgres://app@db.invalid/app"),
		what: "database", verdict: pg.Bad, says: "db.invalid", mend: "DNS works here", also: "lease connection", loose: true},
	{name: "the schema was not made", provoke: database("", nil),
		what: "schema", verdict: pg.Bad, says: "has no schema fedsender", mend: "sender migrate"},
	{name: "the schema is of an older version", provoke: sql(`update fedsender.schema_version set version = version - 1`, `update fedsender.schema_version set version = version + 1`),
		what: "schema", verdict: pg.Bad, says: "older than the", mend: "sender migrate"},
	{name: "the schema is of a newer version", provoke: sql(`update fedsender.schema_version set version = version + 1`, `update fedsender.schema_version set version = version - 1`),
		what: "schema", verdict: pg.Bad, says: "newer than the", mend: "install the sender that made it"},
	{name: "a view of the schema was dropped", provoke: database("", migratedAnd(`drop view fedsender.source_domain_list cascade`)), what: "parts of the schema", verdict: pg.Bad, says: "source_domain_list", mend: "sender migrate", also: "*"},
	{name: "the database takes no writes", provoke: sql(`alter database app set default_transaction_read_only = on`, `alter database app reset default_transaction_read_only`),
		what: "server", verdict: pg.Bad, says: "takes no writes", mend: "connect to the primary"},
	{name: "the database is not encoded in UTF8", provoke: database("encoding 'SQL_ASCII' locale 'C' template template0", nil),
		what: "encoding", verdict: pg.Bad, says: "SQL_ASCII", mend: "encoding 'UTF8'", also: "schema"},
	{name: "the role has no rights", provoke: as("stranger", ""),
		what: "schema", verdict: pg.Bad, says: "stranger", mend: "grant what is missing", also: "*"},
	{name: "the role lacks one right", provoke: as("sender", `grant usage on schema fedsender to sender; grant select, insert, update, delete on all tables in schema fedsender to sender;
		grant pg_read_all_stats to sender; revoke delete on fedsender.process from sender`),
		what: "rights", verdict: pg.Bad, says: "delete on fedsender.process", mend: "grant delete on fedsender.process to sender", also: "server identity,lease connection"},
	{name: "the role does not see other sessions", provoke: as("sender", `grant usage on schema fedsender to sender; grant select, insert, update, delete on all tables in schema fedsender to sender`),
		what: "other sessions", verdict: pg.Warn, says: "are hidden", mend: "grant pg_read_all_stats to sender"},
	{name: "the role may have 3 connections", provoke: as("sender", `alter role sender connection limit 3; grant usage on schema fedsender to sender; grant select, insert, update, delete on all tables in schema fedsender to sender; grant pg_read_all_stats to sender`),
		what: "connections", verdict: pg.Warn, says: "a process uses up to", mend: "connection limit 6"},
	{name: "the server has no connection left for a process", provoke: func(p *patient) []string {
		for range 30 {
			session("app", "select")(p)
		}
		return nil
	}, what: "server connections", verdict: pg.Warn, says: "no room for another process", mend: "max_connections ="},
	{name: "ids are drawn in blocks", provoke: sql(`alter sequence fedsender.activity_id_seq cache 20`, `alter sequence fedsender.activity_id_seq cache 1`),
		what: "activity ids", verdict: pg.Bad, says: "CACHE 20", mend: "alter sequence fedsender.activity_id_seq cache 1"},
	{name: "more instances than locks", provoke: sql(`insert into fedsender.instance (domain) select 'n' || g || '.example' from generate_series(1, 2000) g`, `delete from fedsender.instance where domain like 'n%.example'`),
		what: "lock table", verdict: pg.Warn, says: "they take turns", mend: "alter system set max_locks_per_transaction ="},
	{name: "advisory locks of another program", provoke: session("psql", `select pg_advisory_lock(`+leaseClass+`, 1)`),
		what: "locks of others", verdict: pg.Bad, says: "(psql) holds 1", mend: "pg_terminate_backend"},
	{name: "a table is locked", provoke: session("psql", `begin; lock table fedsender.schema_version in access exclusive mode`),
		what: "schema", verdict: pg.Bad, says: "(psql, role postgres) holds up fedsender.schema_version", mend: "pg_terminate_backend"},
	{name: "a table lost its one row", provoke: sql(`delete from fedsender.doorbell`, `insert into fedsender.doorbell default values`),
		what: "single rows", verdict: pg.Bad, says: "fedsender.doorbell", mend: "sender migrate"},
	{name: "cursors are beyond the newest activity", provoke: sql(`update fedsender.queue_state set last_successful_id = 900 where instance_id = 1`, `update fedsender.queue_state set last_successful_id = 3 where instance_id = 1`),
		what: "cursors", verdict: pg.Warn, says: "older backup", mend: "sender skip DOMAIN --to latest"},
	{name: "another sender moved a cursor", provoke: func(p *patient) []string {
		require.NoError(p.t, pg.PauseStrays(p.t.Context(), p.db, []pg.Stray{{InstanceID: 1, Domain: fleet.Domain(0), From: 3, To: 3}}))
		p.undo = append(p.undo, func() { p.exec(`select fedsender.resume('` + fleet.Domain(0) + `')`) })
		return nil
	}, what: "moved cursors", verdict: pg.Warn, says: "own sender still running", mend: "sender resume"},
	{name: "federation is switched off", provoke: database("", migratedAnd(`alter table fedsender.domain_allow drop constraint domain_is_a_name; insert into fedsender.domain_allow (domain) values ('.')`)),
		what: "federation", verdict: pg.Warn, says: "switched off as a whole", mend: "switch it on"},
	{name: "odd domains", provoke: sql(`alter table fedsender.instance drop constraint domain_is_lower_case_ascii;
		insert into fedsender.instance (domain) values ('BIG.example'), ('bücher.example'), ('https://url.example'), ('localhost'), ('192.0.2.7'), ('same.example:443')`,
		`delete from fedsender.instance where id > 3; alter table fedsender.instance add constraint domain_is_lower_case_ascii check (domain ~ '^[!-~]+$' and length(domain) <= 260 and domain !~ '[A-Z/@?#]')`),
		what: "domains", verdict: pg.Warn, says: "6 of 9 instances", mend: "correct them"},
	{name: "a key that can't be parsed", provoke: sql(`update fedsender.actor set private_key_pem = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----' where id = 1`, `update fedsender.actor a set private_key_pem = b.private_key_pem from fedsender.actor b where a.id = 1 and b.id = 2`),
		what: "keys", verdict: pg.Warn, says: "is not", mend: "dead-letters retry"},
	{name: "an actor without a key", provoke: sql(`update fedsender.actor set private_key_pem = null where id = 1`, `update fedsender.actor a set private_key_pem = b.private_key_pem from fedsender.actor b where a.id = 1 and b.id = 2`),
		what: "actors", verdict: pg.Warn, says: "https://home.example/u/0", mend: "give each a key"},
	{name: "no process runs", provoke: environment(),
		what: "sender processes", verdict: pg.Warn, says: "none runs", mend: "sender run"},
	{name: "a process hangs", provoke: func(p *patient) []string {
		session("fedsender:hung:0:1", `select pg_advisory_lock(`+leaseClass+`, 1)`)(p)
		p.exec(`insert into fedsender.process (id, name, address, version) values ('hung', 'hung', '', 'v0.0.1-test')`)
		p.undo = append(p.undo, func() { p.exec(`delete from fedsender.process`) })
		return pretend("view", "pg_stat_activity", activityShift)(p)
	}, what: "hung process", verdict: pg.Bad, says: "nobody delivers to the 1 instances", mend: "select pg_terminate_backend", pretended: true, also: "sender processes"},
	{name: "processes of several versions", provoke: func(p *patient) []string {
		session("fedsender:a:0:1", `select`)(p)
		session("fedsender:b:0:1", `select`)(p)
		p.exec(`insert into fedsender.process (id, name, address, version) values ('a', 'a', '', 'v0.0.1-test'), ('b', 'b', '', 'v0.0.0')`)
		p.undo = append(p.undo, func() { p.exec(`delete from fedsender.process`) })
		return nil
	}, what: "versions", verdict: pg.Warn, says: "v0.0.0, v0.0.1-test", mend: "finish the upgrade"},
	{name: "a transaction is open for 20 minutes", provoke: func(p *patient) []string {
		session("report", `begin; select pg_current_xact_id()`)(p)
		return pretend("view", "pg_stat_activity", activityShift)(p)
	}, what: "long transactions", verdict: pg.Warn, says: "the oldest is open for 20m", mend: "pg_terminate_backend", pretended: true},
	{name: "a prepared transaction was forgotten", provoke: pretend("view", "pg_prepared_xacts", `as select current_database() as database, now() - interval '1 day' as prepared`),
		what: "prepared transactions", verdict: pg.Warn, says: "older than 5 minutes", mend: "rollback prepared", pretended: true},
	{name: "the queue of notifications is full", provoke: pretend("function", "pg_notification_queue_usage()", `returns double precision language sql as 'select 0.97::float8'`),
		what: "notification queue", verdict: pg.Bad, says: "97 % full", mend: "pg_stat_activity", pretended: true},
	{name: "the clock of the database is off", provoke: pretend("function", "clock_timestamp()", `returns timestamptz language sql as $$select pg_catalog.true_clock_timestamp() + interval '61 minutes'$$`),
		what: "clock", verdict: pg.Warn, says: "differ by 1h", mend: "NTP", pretended: true},
	{name: "transaction ids run out", provoke: pretend("function", "age(xid)", `returns int language sql as 'select 1950000000'`),
		what: "transaction ids", verdict: pg.Bad, says: "1950 million", mend: "vacuum (freeze)", pretended: true},
	{name: "statements are ended after 5 s", provoke: sql(`alter database app set statement_timeout = '5s'`, `alter database app reset statement_timeout`),
		what: "time-outs", verdict: pg.Warn, says: "statement_timeout is 5s", mend: "set statement_timeout = 0"},
	{name: "fsync is off", provoke: setting("fsync", "off"), what: "durability", verdict: pg.Warn, says: "fsync is off", mend: "fsync = on"},
	{name: "commits do not wait for the disk", provoke: sql(`alter database app set synchronous_commit = off`, `alter database app reset synchronous_commit`),
		what: "durability", verdict: pg.Warn, says: "last activities of the application are lost", mend: "synchronous_commit = on"},
	{name: "autovacuum is off", provoke: setting("autovacuum", "off"), what: "autovacuum", verdict: pg.Warn, says: "it is off", mend: "autovacuum = on"},
	{name: "the synchronous standby is gone", provoke: setting("synchronous_standby_names", "standby"),
		what: "replication", verdict: pg.Bad, says: "writes hang", mend: "start the standby"},
	{name: "a replication slot that nobody uses", provoke: sql(`select pg_create_physical_replication_slot('left_behind', true)`, `select pg_drop_replication_slot('left_behind')`),
		what: "replication slots", verdict: pg.Warn, says: "left_behind", mend: "pg_drop_replication_slot('left_behind')"},
	{name: "activity is not tracked", provoke: sql(`alter database app set track_activities = off`, `alter database app reset track_activities`),
		what: "other sessions", verdict: pg.Warn, says: "track_activities is off", mend: "turn track_activities on"},
	{name: "the session of the leases may set nothing", provoke: func(p *patient) []string {
		sql(`revoke execute on function set_config(text, text, boolean) from public`, `grant execute on function set_config(text, text, boolean) to public`)(p)
		return as("sender", `grant usage on schema fedsender to sender; grant select, insert, update, delete on all tables in schema fedsender to sender; grant pg_read_all_stats to sender`)(p)
	}, what: "lease settings", verdict: pg.Bad, says: "nothing is sent", mend: "grant execute on function pg_catalog.set_config"},
	{name: "the leases are in another database", provoke: func(p *patient) []string {
		database("", nil)(p)
		return []string{"SENDER_LEASE_DATABASE_URL=" + p.urlOf("postgres", "other")}
	}, what: "lease connection", verdict: pg.Bad, says: "another server or database", mend: "lead to the same primary"},
	{name: "a pooler in transaction mode", provoke: pooled(pgbouncer.Transaction),
		what: "lease connection", verdict: pg.Bad, says: "a pooler in transaction mode", mend: "SENDER_LEASE_DATABASE_URL"},
	{name: "a pooler in statement mode", provoke: pooled(pgbouncer.Statement),
		what: "database", verdict: pg.Bad, says: "refuses transactions", mend: "pool_mode=transaction", also: "lease connection"},
	{name: "the name of a server is not in DNS", provoke: environment("SENDER_CONNECT_TO="), args: []string{"--peer", "nothing.invalid"},
		what: "DNS", verdict: pg.Bad, says: "nothing.invalid", mend: "/etc/resolv.conf", loose: true},
	{name: "TCP to other servers is refused", provoke: environment("SENDER_CONNECT_TO=127.0.0.1:1"), args: []string{"--peer", "example.com"},
		what: "outgoing connections", verdict: pg.Bad, says: "connection refused", mend: "TCP port 443"},
	{name: "the proxy is not there", provoke: environment("SENDER_CONNECT_TO=", "HTTPS_PROXY=http://me:hunter2secret@127.0.0.1:1"), args: []string{"--peer", "example.com"},
		what: "proxy", verdict: pg.Bad, says: "127.0.0.1:1 takes no connection", mend: "HTTPS_PROXY"},
	{name: "no authority is trusted", provoke: func(p *patient) []string {
		address, _ := website(p, nil)
		return []string{"SENDER_CONNECT_TO=" + address, "SENDER_CA_FILE="}
	}, args: []string{"--peer", "example.com"}, what: "TLS", verdict: pg.Bad, says: "not valid", mend: "ca-certificates"},
	{name: "the clock of this machine is off", provoke: func(p *patient) []string {
		address, ca := website(p, http.Header{"Date": {time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)}})
		return []string{"SENDER_CONNECT_TO=" + address, "SENDER_CA_FILE=" + ca}
	}, args: []string{"--peer", "example.com"}, what: "clock against other servers", verdict: pg.Warn, says: "ahead of the Date", mend: "NTP"},
}

func migratedAnd(sql string) func(ctx context.Context, url string) error {
	return func(ctx context.Context, url string) error {
		if err := fleet.Migrate(ctx, url); err != nil {
			return err
		}
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, sql)
		return err
	}
}

func pooled(mode pgbouncer.Mode) func(p *patient) []string {
	return func(p *patient) []string {
		if !pgbouncer.Installed() {
			p.t.Skip("there is no PgBouncer on this machine; scripts/setup installs it on Debian")
		}
		pooler, err := pgbouncer.Start(p.t.Context(), p.server, pgbouncer.Options{Mode: mode})
		require.NoError(p.t, err)
		p.undo = append(p.undo, func() { require.NoError(p.t, pooler.Close()) })
		return []string{"DATABASE_URL=" + pooler.URL("app")}
	}
}

func (f *fault) allows(what string) bool {
	return what == f.what || what == "sender processes" || f.also == "*" || strings.Contains(","+f.also+",", ","+what+",")
}
