package pg

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// identity looks whether the server can be told from one that it replaced. It returns what is known of it; where nothing
// is, it can't be compared.
func (d *diagnosis) identity() ServerID {
	const what = "server identity"
	id, err := ReadServerID(d.ctx, d.conn)
	if err != nil {
		d.unknown(what, err)
		return ServerID{}
	}
	if !id.NamesSystem() {
		d.findings = append(d.findings, namelessFinding(d.ctx, d.conn, what))
		return id
	}
	d.add(what, OK, "system and timeline are known: a primary that was replaced is recognised", "")
	return id
}

// namelessFinding says what it costs that the server does not name its system, and which grant mends that.
func namelessFinding(ctx context.Context, conn *pgx.Conn, what string) Finding {
	var user string
	var refused []string
	err := conn.QueryRow(ctx, `
		select quote_ident(current_user),
			coalesce(array_agg(name order by name) filter (where not has_function_privilege(to_regprocedure(name)::oid, 'execute')), '{}')
		from unnest($1::text[]) as f (name)`, systemFunctions).Scan(&user, &refused)
	f := Finding{What: what, Verdict: Warn, Says: "the role is not told which system and timeline the server belongs to: a primary that was replaced and goes on is not recognised"}
	switch {
	case err != nil:
		f.Mend = "let the role call " + strings.Join(systemFunctions, ", ")
	case len(refused) > 0:
		f.Mend = "grant execute on function " + strings.Join(refused, ", ") + " to " + user
	default:
		f.Mend = "nothing can be granted, the server lacks the functions: make sure that a primary which was replaced is stopped"
	}
	return f
}
