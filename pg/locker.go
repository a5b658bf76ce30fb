package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// personLimit is how long a person waits for one statement. Each takes milliseconds, or seconds where there is very
	// much.
	personLimit = 10 * time.Second
	// lockerLimit is for finding out why: one look at the catalog.
	lockerLimit = 3 * time.Second
	// queryCanceled is the SQLSTATE of a statement that the server ended: at its statement_timeout, for one.
	queryCanceled = "57014"
	// lockNotAvailable is that of a lock_timeout.
	lockNotAvailable = "55P03"
	// lockPatience is how long a process waits for a lock, in SQL. An upgrade of the application's locks its tables one after
	// the other and may stand still in between: it waits for a table that a statement of ours has, and that waits for one that
	// the upgrade has. Postgres ends whoever finds the circle, after deadlock_timeout, and it must not be the upgrade: so ours
	// has failed long before. 300 ms of the second that is the default leave the rest for what was done under the lock before;
	// another deadlock_timeout is divided alike. 0 would be for ever.
	lockPatience = `(select greatest(1, least(300, s.setting::int * 3 / 10))::text from pg_catalog.pg_settings s where s.name = 'deadlock_timeout')`
	// setPersonLockTimeout is how long a person's command waits for a lock. Those that a sender keeps last for milliseconds; who has
	// one for longer is named.
	setPersonLockTimeout = `set_config('lock_timeout', '2s', false)`
	// setLockTimeout has a session keep to it.
	setLockTimeout = `set_config('lock_timeout', ` + lockPatience + `, false)`
)

// BoundForPerson ends the statements of connections made from cfg after 10 s, and attempts to connect after 10 s for all hosts
// together. [ExplainTimeout] says why a statement took so long.
func BoundForPerson(cfg *pgx.ConnConfig) {
	cfg.Tracer = bound(personLimit)
	if most := personLimit / time.Duration(len(hosts(cfg))); cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > most {
		cfg.ConnectTimeout = most
	}
}

// IsTimeout tells of an error that time ran out, here or in the server.
func IsTimeout(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code == queryCanceled || server.Code == lockNotAvailable
	}
	return errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err)
}

// shortTimeout is what to do where the server's own statement_timeout has ended a statement; empty: it was something else.
func shortTimeout(err error, role string) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != queryCanceled || !strings.Contains(server.Message, "statement timeout") {
		return ""
	}
	return "statement_timeout of the server, the database or the role is too short: alter role " + role + " set statement_timeout = 0"
}

// IsLocked tells of an error that somebody else kept a lock for longer than a process waits for one: it can be tried again at
// once.
func IsLocked(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == lockNotAvailable
}

// ExplainTimeout makes a sentence of an error that matches [IsTimeout]: who has locked a table of ours, if that is to be
// found out in a few seconds. It returns any other error as it is, and all where ctx has ended.
func ExplainTimeout(ctx context.Context, err error, cfg *pgx.ConnConfig) error {
	var connect *ConnectError
	if !IsTimeout(err) || errors.As(err, &connect) || ctx.Err() != nil {
		return err
	}
	if l, found := findLocker(ctx, cfg); found {
		return fmt.Errorf("the database gave no answer in time: %s; %s", l.says(), l.mend())
	}
	if mend := shortTimeout(err, identifier(cfg.User)); mend != "" {
		return errors.New("the database ended a statement: " + printable(mend))
	}
	return errors.New("the database gave no answer in time; see pg_stat_activity for what it waits for, and run: sender doctor")
}

// locker is a session that keeps others from a table.
type locker struct {
	pid               int32
	role, application string
	table, mode       string
	age               time.Duration // of its transaction; 0: hidden
}

func (l locker) says() string {
	text := fmt.Sprintf("pid %d (%s, role %s) holds up %s (%s)", l.pid, l.application, l.role, l.table, l.mode)
	if l.age > 0 {
		text += " in a transaction of " + l.age.String()
	}
	return text
}

func (l locker) mend() string {
	return fmt.Sprintf("to end it: select pg_terminate_backend(%d)", l.pid)
}

// findLocker looks for who waits for or has a lock that even readers of a table wait for, and, where it waits itself, for whom.
func findLocker(ctx context.Context, cfg *pgx.ConnConfig) (l locker, found bool) {
	ctx, cancel := context.WithTimeout(ctx, lockerLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return l, false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var seconds int64
	err = conn.QueryRow(ctx, `
		with strong as (
			select l.pid, l.granted, l.mode, n.nspname || '.' || c.relname as name
			from pg_locks l
			join pg_class c on c.oid = l.relation
			join pg_namespace n on n.oid = c.relnamespace
			where l.locktype = 'relation' and n.nspname = 'fedsender' and l.pid <> pg_backend_pid()
				and l.database = (select oid from pg_database where datname = current_database())
				and l.mode in ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
			order by l.mode = 'AccessExclusiveLock' desc, l.granted desc, name
			limit 1
		), root as (
			select coalesce((select b from unnest(case when s.granted then '{}' else pg_blocking_pids(s.pid) end) b where b > 0 limit 1), s.pid) as pid, s.name, s.mode
			from strong s
		)
		select r.pid, coalesce(a.usename, '?')::text, coalesce(nullif(a.application_name, ''), 'without a name'), r.name, r.mode,
			coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::bigint
		from root r
		left join pg_stat_activity a on a.pid = r.pid`).Scan(&l.pid, &l.role, &l.application, &l.table, &l.mode, &seconds)
	l.age = time.Duration(seconds) * time.Second
	return l, err == nil
}
