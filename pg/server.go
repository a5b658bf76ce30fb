package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrOtherServer is matched where a connection leads to another server, or to another database, than the lease session:
	// locks there say nothing here.
	ErrOtherServer = errors.New("the connection leads to another server or database than the lease session")
	// ErrReplaced is matched where a connection leads to a primary that was replaced: another one has taken over, and this
	// one goes on although nobody should write to it any more.
	ErrReplaced = errors.New("the connection leads to a primary that was replaced by another one")
)

// ServerID tells one run of one server, and the database on it, from all others, whether or not a pooler stands between.
type ServerID struct {
	System   string // of a primary and its standbys together
	Timeline int64  // which a promotion raises (Postgres manual, section 26.3.5)
	Started  int64  // in microseconds of the Unix time: no two servers start in the same one
	Database uint32
}

// Replaces tells that id is a primary by which other was replaced, directly or not.
func (id ServerID) Replaces(other ServerID) bool {
	return id.System == other.System && id.Timeline > other.Timeline
}

const (
	// The log's file is named by the timeline. The control file learns of a promotion only at the next checkpoint.
	serverIDColumns = `
		(select system_identifier::text from pg_control_system()),
		case when pg_is_in_recovery() then 0
			else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint end,
		(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
		(select oid from pg_database where datname = current_database())`
	takesNoWrites = `pg_is_in_recovery() or current_setting('transaction_read_only')::bool`
)

// ReadServerID says which server the connection leads to.
func ReadServerID(ctx context.Context, q Querier) (id ServerID, err error) {
	if err := q.QueryRow(ctx, `select `+serverIDColumns).Scan(id.fields()...); err != nil {
		return id, fmt.Errorf("ask which server this is: %w", err)
	}
	return id, nil
}

func (id *ServerID) fields() []any { return []any{&id.System, &id.Timeline, &id.Started, &id.Database} }

// Confine makes connections of cfg only where writes are taken and admit says nil; of several hosts the next one is tried
// then. admit is called by whatever goroutine connects.
func Confine(cfg *pgx.ConnConfig, admit func(ServerID) error) {
	given := cfg.ValidateConnect
	cfg.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		id, err := examine(ctx, conn)
		if err == nil {
			err = admit(id)
		}
		if err != nil || given == nil {
			return err
		}
		return given(ctx, conn)
	}
}

// examine finds out which server it is. Its error is ErrReadOnly where that takes no writes.
func examine(ctx context.Context, conn *pgconn.PgConn) (id ServerID, err error) {
	answer := conn.ExecParams(ctx, `select `+takesNoWrites+`, `+serverIDColumns, nil, nil, nil, nil).Read()
	switch {
	case answer.Err != nil:
		return id, unanswered(answer.Err)
	case len(answer.Rows) != 1 || len(answer.Rows[0]) != 5:
		return id, errors.New("asked whether the database takes writes and got no answer")
	case string(answer.Rows[0][0]) == "t":
		return id, ErrReadOnly
	}
	for i, field := range id.fields() {
		if _, err := fmt.Sscan(string(answer.Rows[0][i+1]), field); err != nil {
			return id, fmt.Errorf("read which server this is: %w", err)
		}
	}
	return id, nil
}

// LeadsElsewhere tells of the error of a connection attempt that every host answered, and that the server of the lease
// session is none of them. Where one of them did not answer, it may be that one.
func LeadsElsewhere(err error) bool {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return false
	}
	elsewhere := false
	for _, attempt := range telling(err) {
		switch {
		case errors.Is(attempt, ErrOtherServer):
			elsewhere = true
		case !errors.Is(attempt, ErrReadOnly) && !errors.Is(attempt, ErrReplaced):
			return false
		}
	}
	return elsewhere
}

// readOnlyTransaction is the SQLSTATE of a write that a standby, or a server that was set so, refuses.
const readOnlyTransaction = "25006"

// IsReadOnly tells that the database took no writes when it was asked for one.
func IsReadOnly(err error) bool {
	var server *pgconn.PgError
	return errors.Is(err, ErrReadOnly) || errors.As(err, &server) && server.Code == readOnlyTransaction
}
