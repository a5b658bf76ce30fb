package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// poolerLooks is how often the backend is looked at while another connection is in a transaction.
	poolerLooks = 3
)

// leaseSetting is what a lease session asks of the server, and what it costs to go without.
type leaseSetting struct {
	name, value string
	since       int // server_version_num
	cost        string
}

// call is the SQL that makes the setting.
func (s leaseSetting) call() string {
	if s.name == "lock_timeout" {
		return setLockTimeout
	}
	return fmt.Sprintf("pg_catalog.set_config('%s', '%s', false)", s.name, s.value)
}

var leaseSettings = []leaseSetting{
	// 6 s of silence and two probes 2 s apart: a process whose host vanished is seen 10 s after its last packet, later than it stopped itself.
	{"tcp_keepalives_idle", "6", 0, "a host that vanishes keeps its leases until the server's own keepalive ends the session"},
	{"tcp_keepalives_interval", "2", 0, "a host that vanishes keeps its leases until the server's own keepalive ends the session"},
	{"tcp_keepalives_count", "2", 0, "a host that vanishes keeps its leases until the server's own keepalive ends the session"},
	// The same for a packet that the server has sent and nobody acknowledges; keepalives do not run then.
	{"tcp_user_timeout", "10000", 12_00_00, "a host that vanishes while it is answered keeps its leases for up to 15 minutes"},
	{"idle_session_timeout", "0", 14_00_00, "the server ends the session when it is idle for long"},
	{"idle_in_transaction_session_timeout", "0", 0, "the server ends the session when this process is slow between two statements"},
	{"transaction_timeout", "0", 17_00_00, "the server ends the session when a save takes long"},
	// Below the time-out of the call: a statement that the server breaks off leaves the session alive.
	{"statement_timeout", "1500", 0, "one slow statement ends the session"},
	// At most: see lockPatience.
	{"lock_timeout", "300", 0, "an upgrade of the application's tables may fail because a save waits for it"},
	// A commit that waits for the disk would keep the heartbeat waiting. What a crash of the server loses so, less than a
	// second of cursors, is sent again.
	{"synchronous_commit", "off", 0, "a slow disk delays the heartbeat and may cost the leases"},
	{"search_path", "pg_catalog, pg_temp", 0, "tables and functions of other schemas may be taken for the server's"},
}

// OpenLeaseSession connects and prepares a session for the process id, which was drawn at random when the process
// started: printable ASCII without a colon, at most 30 bytes. It tells the others that this process holds at most
// maxLeases; 0: no limit. The session outlives ctx; Close it.
//
// Errors: ErrReadOnly (try again later), ErrPooled (the configuration is wrong), else that of [Explain]. A setting that
// the server refuses is logged with what it costs.
//
// No statement is prepared by name: a pooler in session mode, which is allowed here, gives the same server session to
// one client after the other, names left in it included.
func OpenLeaseSession(ctx context.Context, config *pgx.ConnConfig, id string, maxLeases int, log *slog.Logger) (*LeaseSession, error) {
	if !isLeaseID(id) {
		return nil, fmt.Errorf("%q can't be the id of a process", id)
	}
	name := leaseName{id: id, maxLeases: maxLeases}
	config = leaseConfig(config, name.String())
	conn, err := pgx.ConnectConfig(ctx, config)
	switch {
	case errors.Is(err, ErrReadOnly):
		return nil, fmt.Errorf("open the lease session: %w", ErrReadOnly)
	case err != nil:
		return nil, Explain(err, config)
	}
	s := &LeaseSession{id: id, name: name, log: log, conn: conn, turn: make(chan struct{}, 1)}
	s.server, _ = examined(conn.PgConn()) // by leaseConfig at the latest
	s.alive, s.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := s.prepare(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the lease session: %w", err)
	}
	return s, nil
}

func leaseConfig(config *pgx.ConnConfig, name string) *pgx.ConnConfig {
	config = config.Copy()
	config.RuntimeParams["application_name"] = name
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.StatementCacheCapacity, config.DescriptionCacheCapacity = 0, 0
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = defaultConnectTimeout
	}
	// Here and not on the finished connection, so that the next of several hosts is tried.
	given := config.ValidateConnect
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if _, err := examine(ctx, conn); err != nil || given == nil {
			return err
		}
		return given(ctx, conn)
	}
	return config
}

// prepare makes the settings and finds out whether the session is one and the same from one statement to the next.
func (s *LeaseSession) prepare(ctx context.Context) error {
	var version int
	err := s.call(ctx, "ask for the backend", func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, `
			select
				pg_backend_pid(),
				current_setting('server_version_num')::int,
				set_config('fedsender.lease_session', $1, false),
				set_config('application_name', $2, false)`, // once more: a pooler may not pass it on
			s.id, s.name.String()).Scan(&s.pid, &version, nil, nil)
	})
	if err != nil {
		return err
	}
	for _, setting := range leaseSettings {
		if version < setting.since {
			continue
		}
		if err := s.set(ctx, setting); err != nil {
			return err
		}
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	// A pooler makes up the key that cancels a query, the process id in it included.
	if s.conn.PgConn().PID() == uint32(s.pid) {
		return nil
	}
	s.log.Warn("a pooler stands between this process and the database; if this host vanishes, its leases last until the pooler notices")
	if err := s.probe(ctx); err != nil {
		return err
	}
	// One that resets nothing leaves us the locks of its last client, such as a process that was killed.
	return s.call(ctx, "unlock what is left in the session", func(ctx context.Context) error {
		_, err := s.conn.Exec(ctx, `select pg_catalog.pg_advisory_unlock_all()`)
		return err
	})
}

func (s *LeaseSession) set(ctx context.Context, setting leaseSetting) error {
	var pid int32
	err := s.call(ctx, "set "+setting.name, func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, `select pg_backend_pid(), `+setting.call()).Scan(&pid, nil)
	})
	switch refused := (*pgconn.PgError)(nil); {
	case err == nil && pid != s.pid:
		return ErrPooled
	case err != nil && !s.conn.IsClosed() && errors.As(err, &refused):
		s.log.Warn("the server refuses a setting of the lease session", "setting", setting.name, "value", setting.value,
			"cost", setting.cost, "error", refused)
		return nil
	}
	return err
}

// look fails if the backend, or what was set in it, is not the one of the start.
func (s *LeaseSession) look(ctx context.Context) error {
	return s.call(ctx, "look at the backend", func(ctx context.Context) error {
		var same bool
		err := s.conn.QueryRow(ctx, `
			select pg_backend_pid() = $1::int and current_setting('fedsender.lease_session', true) is not distinct from $2`,
			s.pid, s.id).Scan(&same)
		if err == nil && !same {
			return ErrPooled
		}
		return err
	})
}

// probe looks again while another connection is in a transaction. A pooler in transaction mode that has little to do
// gives a client the same server session each time, but not while that one is taken.
func (s *LeaseSession) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, (poolerLooks+2)*leaseCallTimeout)
	defer cancel()
	config := s.conn.Config()
	config.RuntimeParams["application_name"] = strings.TrimSuffix(LeasePrefix, ":")
	other, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		s.log.Warn("could not make a second connection to find out whether the pooler is in transaction mode", "error", err)
		return nil
	}
	defer func() { _ = other.Close(ctx) }()
	tx, err := other.Begin(ctx)
	if refusesTransactions(err) {
		return fmt.Errorf("%w (it refuses a transaction: %w)", ErrPooled, err)
	} else if err != nil {
		s.log.Warn("could not begin a transaction to find out whether the pooler is in transaction mode", "error", err)
		return nil
	}
	defer func() { _ = tx.Rollback(ctx) }()
	var pid int32
	if err := tx.QueryRow(ctx, `select pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	if pid == s.pid {
		return ErrPooled
	}
	for range poolerLooks {
		if err := s.look(ctx); err != nil {
			return err
		}
	}
	return nil
}
