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
// The address is no part of it: a pooler may reach the same server by another one.
type ServerID struct {
	System   string // of a primary and its standbys together; empty where the server does not say it
	Timeline int64  // which a promotion raises (Postgres manual, section 26.3.5); 0 where the server does not say it
	Started  int64  // in microseconds of the Unix time: no two servers start in the same one
	Database uint32
}

// NamesSystem tells that the server says to which system and timeline it belongs. Some services let nobody ask; there
// [ServerID.Replaces] can't tell.
func (id ServerID) NamesSystem() bool { return id.System != "" }

// Is tells that both are the same database on the same run of a server. One role may be told more of it than another.
func (id ServerID) Is(other ServerID) bool {
	if !id.NamesSystem() || !other.NamesSystem() {
		return id.Started == other.Started && id.Database == other.Database
	}
	return id == other
}

// Replaces tells that id is a primary by which other was replaced, directly or not.
func (id ServerID) Replaces(other ServerID) bool {
	return id.NamesSystem() && id.System == other.System && id.Timeline > other.Timeline
}

const (
	// The log's file is named by the timeline. The control file learns of a promotion only at the next checkpoint.
	systemColumns = `
		(select system_identifier::text from pg_control_system()),
		case when pg_is_in_recovery() then 0
			else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint end`
	runColumns = `
		(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
		(select oid from pg_database where datname = current_database())`
	serverIDColumns = systemColumns + `,` + runColumns
	// serverIDRest is for a server that refuses systemColumns.
	serverIDRest  = `'', 0::bigint,` + runColumns
	takesNoWrites = `pg_is_in_recovery() or current_setting('transaction_read_only')::bool`
)

// systemFunctions are what systemColumns call and a service may refuse.
var systemFunctions = []string{"pg_control_system()", "pg_walfile_name(pg_lsn)", "pg_current_wal_insert_lsn()"}

// ReadServerID says which server the connection leads to. q must not be in a transaction: a statement may be refused.
func ReadServerID(ctx context.Context, q Querier) (id ServerID, err error) {
	err = q.QueryRow(ctx, `select `+serverIDColumns).Scan(id.fields()...)
	if isRefusedFunction(err) {
		err = q.QueryRow(ctx, `select `+serverIDRest).Scan(id.fields()...)
	}
	if err != nil {
		return id, fmt.Errorf("ask which server this is: %w", err)
	}
	return id, nil
}

// isRefusedFunction tells that the server has a function not at all, or not for us.
func isRefusedFunction(err error) bool {
	const undefinedFunction, featureNotSupported = "42883", "0A000"
	var server *pgconn.PgError
	return errors.As(err, &server) &&
		(server.Code == insufficientPrivilege || server.Code == undefinedFunction || server.Code == featureNotSupported)
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

// examinedKey is where a connection keeps which server it leads to.
const examinedKey = "fedsender server"

// examine finds out which server it is, once for each connection. Its error is ErrReadOnly where that takes no writes.
func examine(ctx context.Context, conn *pgconn.PgConn) (id ServerID, err error) {
	if id, done := examined(conn); done {
		return id, nil
	}
	answer := conn.ExecParams(ctx, `select `+takesNoWrites+`, `+serverIDColumns, nil, nil, nil, nil).Read()
	if isRefusedFunction(answer.Err) {
		answer = conn.ExecParams(ctx, `select `+takesNoWrites+`, `+serverIDRest, nil, nil, nil, nil).Read()
	}
	switch {
	case answer.Err != nil:
		return id, unanswered(answer.Err)
	case len(answer.Rows) != 1 || len(answer.Rows[0]) != 5:
		return id, errors.New("asked whether the database takes writes and got no answer")
	case string(answer.Rows[0][0]) == "t":
		return id, ErrReadOnly
	}
	id.System = string(answer.Rows[0][1])
	for i, field := range id.fields()[1:] {
		if _, err := fmt.Sscan(string(answer.Rows[0][i+2]), field); err != nil {
			return id, fmt.Errorf("read which server this is: %w", err)
		}
	}
	conn.CustomData()[examinedKey] = id
	return id, nil
}

func examined(conn *pgconn.PgConn) (id ServerID, done bool) {
	id, done = conn.CustomData()[examinedKey].(ServerID)
	return id, done
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
