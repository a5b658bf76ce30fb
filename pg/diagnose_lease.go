package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const (
	poolerSays = "a pooler in transaction mode stands in the way: leases can't be held"
	poolerMend = "set SENDER_LEASE_DATABASE_URL to a direct connection, or one with pool_mode=session"
)

// diagnoseLease finds out whether a session is one server session for its whole life. It takes no lease and is not seen
// as a process.
func diagnoseLease(ctx context.Context, cfg *pgx.ConnConfig) Finding {
	const what = "lease connection"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return connectFinding(what, err, cfg)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid uint32
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&pid); err != nil {
		return connectFinding(what, err, cfg)
	}
	if conn.PgConn().PID() == pid {
		return Finding{What: what, Verdict: OK, Says: "direct"}
	}
	// A pooler makes up the number of the backend. One in transaction mode gives another session as soon as ours is
	// taken by somebody else's transaction.
	pooled, err := changesSession(ctx, conn, cfg)
	switch {
	case err != nil:
		return Finding{What: what, Verdict: Bad, Says: "a pooler stands in the way and can't be looked at: " + Sentence(err), Mend: poolerMend}
	case pooled:
		return Finding{What: what, Verdict: Bad, Says: poolerSays, Mend: poolerMend}
	}
	return Finding{
		What: what, Verdict: Warn,
		Says: "a pooler in session mode stands between: if this host vanishes, its leases last until the pooler notices",
		Mend: "set SENDER_LEASE_DATABASE_URL to a direct connection",
	}
}

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
