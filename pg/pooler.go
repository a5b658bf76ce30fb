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

// ErrStatementPooled is matched where a pooler refuses transactions of more than one statement. Waiting does not help.
var ErrStatementPooled = errors.New("leads through a pooler that refuses transactions (pool_mode=statement); " +
	"set it to pool_mode=transaction, or DATABASE_URL to a direct connection")

// errNoServer is matched where a connection is taken and no statement on it is answered: a pooler does so that has no free
// server connection.
var errNoServer = errors.New("connected, and the first statement got no answer")

const (
	// probeTimeout is for one statement of those that find out about a pooler. One that has no free server connection lets
	// a client wait for 120 s by default.
	probeTimeout = 5 * time.Second
	// queryWaitTimeout is what PgBouncer says then.
	queryWaitTimeout = "query_wait_timeout"
)

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
	if err := askBackend(ctx, conn, &pid); err != nil {
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

// poolerRounds is how often it is looked whether a session changes: others may have just the one that would tell. With five
// it was missed once.
const poolerRounds = 20

// changesSession looks whether another session is given as soon as ours is taken by somebody else's transaction.
func changesSession(ctx context.Context, conn *pgx.Conn, cfg *pgx.ConnConfig) (bool, error) {
	other, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, Explain(err, cfg)
	}
	defer other.Close(context.WithoutCancel(ctx))
	var first uint32
	if err := askBackend(ctx, conn, &first); err != nil {
		return false, err
	}
	for range poolerRounds {
		if changes, err := changesBeside(ctx, conn, other, first); changes || err != nil {
			return changes, err
		}
	}
	return false, nil
}

// changesBeside is one look, beside a transaction of other's; before is the session of conn.
func changesBeside(ctx context.Context, conn, other *pgx.Conn, before uint32) (bool, error) {
	var taken, after uint32
	tx, err := beginSoon(ctx, other)
	if refusesTransactions(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := askBackend(ctx, tx, &taken); err != nil {
		return false, err
	}
	if taken == before { // and where it is the only one, our next statement would wait for it
		return true, nil
	}
	if err := askBackend(ctx, conn, &after); err != nil {
		return false, err
	}
	return before != after, nil
}

// askBackend bounds the wait for a pooler's server connection.
func askBackend(ctx context.Context, q Querier, pid *uint32) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return unanswered(q.QueryRow(ctx, `select pg_backend_pid()`).Scan(pid))
}

func beginSoon(ctx context.Context, conn *pgx.Conn) (pgx.Tx, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	tx, err := conn.Begin(ctx)
	return tx, unanswered(err)
}

// unanswered makes silence, where the connection was taken, an errNoServer.
func unanswered(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", errNoServer, err)
	}
	return err
}

// lacksServer tells that a pooler let the client in and has no server connection for it.
func lacksServer(err error) bool { return errors.Is(err, errNoServer) || saysQueryWait(err) }

func saysQueryWait(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == protocolViolation && strings.Contains(server.Message, queryWaitTimeout)
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
	return errors.As(err, &refused) && refused.Code == protocolViolation && !saysQueryWait(err)
}
