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
	found, err := findPooling(ctx, cfg)
	switch {
	case err != nil:
		return connectFinding(what, err, cfg)
	case found == pooledByTransaction:
		return Finding{What: what, Verdict: Bad, Says: poolerSays, Mend: poolerMend}
	case found == pooledBySession:
		return Finding{
			What: what, Verdict: Warn,
			Says: "a pooler in session mode stands between: if this host vanishes, its leases last until the pooler notices",
			Mend: "set SENDER_LEASE_DATABASE_URL to a direct connection",
		}
	}
	return Finding{What: what, Verdict: OK, Says: "direct"}
}
