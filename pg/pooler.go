package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrStatementPooled is matched where a pooler refuses transactions of more than one statement. Waiting does not help.
var ErrStatementPooled = errors.New("leads through a pooler that refuses transactions (pool_mode=statement); " +
	"set it to pool_mode=transaction, or DATABASE_URL to a direct connection")

// pooling is what stands between a client and its server session.
type pooling int

const (
	direct pooling = iota
	pooledBySession
	pooledByTransaction // or by statement
)

// CheckLeaseConnection finds out whether a session is one server session for its whole life, before there are leases to
// lose. Its error is [ErrPooled] or that of [Explain].
func CheckLeaseConnection(ctx context.Context, cfg *pgx.ConnConfig) error {
	found, err := findPooling(ctx, cfg)
	if err == nil && found == pooledByTransaction {
		return ErrPooled
	}
	return Explain(err, cfg)
}

// findPooling makes one connection, and another where a pooler stands between. It takes no lease and is not seen as a process.
func findPooling(ctx context.Context, cfg *pgx.ConnConfig) (pooling, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return direct, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid uint32
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&pid); err != nil {
		return direct, err
	}
	// A pooler makes up the number of the backend.
	if conn.PgConn().PID() == pid {
		return direct, nil
	}
	changes, err := changesSession(ctx, conn, cfg)
	if changes {
		return pooledByTransaction, err
	}
	return pooledBySession, err
}

// changesSession looks whether another session is given as soon as ours is taken by somebody else's transaction.
func changesSession(ctx context.Context, conn *pgx.Conn, cfg *pgx.ConnConfig) (bool, error) {
	other, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, Explain(err, cfg)
	}
	defer other.Close(context.WithoutCancel(ctx))
	var before, taken, after int32
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&before); err != nil {
		return false, err
	}
	tx, err := other.Begin(ctx)
	if refusesTransactions(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := tx.QueryRow(ctx, `select pg_backend_pid()`).Scan(&taken); err != nil {
		return false, err
	}
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&after); err != nil {
		return false, err
	}
	return before != after || after == taken, nil
}

// CheckTransactions makes sure that transactions of several statements are taken. Its error is [ErrStatementPooled] or the
// connection's.
func CheckTransactions(ctx context.Context, db Beginner) error {
	tx, err := db.Begin(ctx)
	if refusesTransactions(err) {
		return ErrStatementPooled
	}
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	_ = tx.Rollback(ctx) // there is nothing in it
	return nil
}

// refusesTransactions: to begin one is never wrong for a server, so what refuses that is a pooler in statement mode.
func refusesTransactions(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == protocolViolation
}
