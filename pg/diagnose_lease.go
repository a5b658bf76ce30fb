package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const (
	poolerSays = "a pooler in transaction mode stands in the way: leases can't be held"
	poolerMend = "set SENDER_LEASE_DATABASE_URL to a direct connection, or one with pool_mode=session"
)

// diagnoseLease finds out whether a session is one server session for its whole life, and whether it takes the settings of
// a lease session. It takes no lease and is not seen as a process. told is told where the other connection leads to, or closed.
func diagnoseLease(ctx context.Context, cfg *pgx.ConnConfig, told <-chan ServerID) []Finding {
	const what = "lease connection"
	found, err := findPooling(ctx, cfg)
	switch {
	case err != nil:
		return []Finding{connectFinding(what, err, cfg)}
	case found == pooledByTransaction:
		return []Finding{{What: what, Verdict: Bad, Says: poolerSays, Mend: poolerMend}}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return []Finding{connectFinding(what, err, cfg)}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	findings := []Finding{{What: what, Verdict: OK, Says: "direct"}}
	if found == pooledBySession {
		findings[0] = Finding{
			What: what, Verdict: Warn,
			Says: "a pooler in session mode stands between: if this host vanishes, its leases last until the pooler notices",
			Mend: "set SENDER_LEASE_DATABASE_URL to a direct connection",
		}
	}
	here := <-told
	there, err := ReadServerID(ctx, conn)
	if err == nil && here != (ServerID{}) && !there.Is(here) {
		return append(findings, Finding{
			What: what, Verdict: Bad, Says: "it leads to another server or database than DATABASE_URL: nothing is sent",
			Mend: "make DATABASE_URL and SENDER_LEASE_DATABASE_URL lead to the same primary",
		})
	}
	if err == nil && here.NamesSystem() && !there.NamesSystem() {
		findings = append(findings, namelessFinding(ctx, conn, what))
	}
	return append(findings, diagnoseSettings(ctx, conn)...)
}

// diagnoseSettings tries what a lease session sets.
func diagnoseSettings(ctx context.Context, conn *pgx.Conn) []Finding {
	const what = "lease settings"
	var version int
	var may bool
	var role string
	err := conn.QueryRow(ctx, `
		select current_setting('server_version_num')::int, has_function_privilege('pg_catalog.set_config(text, text, boolean)', 'execute'),
			quote_ident(current_user)`).Scan(&version, &may, &role)
	switch {
	case err != nil:
		return []Finding{{What: what, Verdict: Bad, Says: "can't be found out: " + Sentence(err), Mend: "mend what the server says"}}
	case !may:
		return []Finding{{
			What: what, Verdict: Bad, Says: "the role may not call set_config: it can open no lease session, so nothing is sent",
			Mend: "grant execute on function pg_catalog.set_config(text, text, boolean) to " + role,
		}}
	}
	var refused []Finding
	for _, setting := range leaseSettings {
		if version < setting.since {
			continue
		}
		if _, err := conn.Exec(ctx, `select `+setting.call()); err != nil {
			refused = append(refused, Finding{
				What: what, Verdict: Warn, Says: setting.name + " = " + setting.value + " is refused (" + Sentence(err) + "): " + setting.cost,
				Mend: "set it on the server, or let the role set it: grant set on parameter " + setting.name,
			})
		}
	}
	if refused != nil {
		return refused
	}
	if conn.PgConn().Conn().RemoteAddr().Network() == "unix" {
		return []Finding{{What: what, Verdict: OK, Says: "all are taken; over a Unix socket there is no network to lose"}}
	}
	return []Finding{{What: what, Verdict: OK, Says: "all are taken: a host that vanishes loses its leases after 10 s"}}
}
