package pg

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// silentWarn is far above the 2 s between heartbeats, and above the term of the leases: nothing is sent any more.
	silentWarn = 8 * time.Second
	// silentBad is when the others end the session, if they may.
	silentBad = 30 * time.Second
)

// senderSession is one lease session, as the asking role sees it.
type senderSession struct {
	pid    int32
	role   string
	silent *float64 // seconds; nil: hidden
	mayEnd bool
}

// senders looks for processes that hang.
func (d *diagnosis) senders() {
	const what = "sender processes"
	sessions, err := d.senderSessions(`a.state_change`, ``)
	if err != nil {
		d.unknown(what, err)
		return
	}
	running, hidden := len(sessions), 0
	var hung []senderSession
	for _, s := range sessions {
		switch {
		case s.silent == nil:
			hidden++
		case *s.silent > silentWarn.Seconds():
			hung = append(hung, s)
		}
	}
	if hidden > 0 { // a process writes its row every 5 s; who may not read that has other findings
		byRow, _ := d.senderSessions(`p.seen_at`, `
			join fedsender.process p on a.state_change is null and p.id = split_part(a.application_name, ':', 2)
				and p.seen_at < clock_timestamp() - interval '30 seconds'`)
		hung = append(hung, byRow...)
	}
	for _, s := range hung {
		d.hangs(s)
	}
	switch {
	case running == 0:
		d.add(what, Warn, "none runs: nothing is delivered", "start one: sender run")
	case hidden > 0:
		d.add(what, Warn, fmt.Sprintf("%d run; of %d of them it is hidden from this role whether they hang", running, hidden),
			"grant pg_read_all_stats to the role, or run all as one role")
	case len(hung) == 0:
		d.add(what, OK, fmt.Sprintf("%d run, none hangs", running), "")
	}
}

// senderSessions reads the lease sessions, silent since what the expression says.
func (d *diagnosis) senderSessions(since, join string) ([]senderSession, error) {
	rows, err := d.conn.Query(d.ctx, `
		select a.pid, quote_ident(coalesce(a.usename, '?')), extract(epoch from clock_timestamp() - `+since+`)::float8,
			coalesce(pg_has_role(a.usesysid, 'usage') or pg_has_role('pg_signal_backend', 'usage') and not r.rolsuper, false)
		from pg_stat_activity a
		left join pg_roles r on r.oid = a.usesysid
		`+join+`
		where a.datname = current_database() and a.application_name like 'fedsender:%'
		order by a.pid`)
	return collect("read the lease sessions", rows, err, func(row pgx.CollectableRow) (s senderSession, err error) {
		err = row.Scan(&s.pid, &s.role, &s.silent, &s.mayEnd)
		return s, err
	})
}

// hangs says of a process that is silent what it keeps and who may end that.
func (d *diagnosis) hangs(s senderSession) {
	const what = "hung process"
	var name string
	var leases int
	if !d.ask(what, fmt.Sprintf(`
		select coalesce((
				select p.name
				from fedsender.process p
				join pg_stat_activity a on a.pid = %[1]d and p.id = split_part(a.application_name, ':', 2)), 'without a name'),
			(select count(*) from fedsender.held_leases() where pid = %[1]d)`, s.pid), &name, &leases) {
		return
	}
	silent := time.Duration(*s.silent * float64(time.Second)).Round(time.Second)
	says := fmt.Sprintf("%s (pid %d, role %s) is silent for %s; nobody delivers to the %d instances that it holds", name, s.pid, s.role, silent, leases)
	end := fmt.Sprintf("select pg_terminate_backend(%d)", s.pid)
	switch {
	case silent < silentBad:
		d.add(what, Warn, says, "wait: after 30 s the others end its session, if their role may; or "+end)
	case s.mayEnd:
		d.add(what, Bad, says, end)
	default:
		d.add(what, Bad, says+"; this role may not end its session", fmt.Sprintf("as role %s or a superuser: %s; and so that the others may do it: grant pg_signal_backend to the roles of the senders, or run all as one role", s.role, end))
	}
}

// roles looks for senders that may not end each other's sessions.
func (d *diagnosis) roles() {
	const what = "roles of senders"
	var all, helpless []string
	if !d.ask(what, `
		with role as (
			select distinct a.usesysid as oid, a.usename as name, r.rolsuper
			from pg_stat_activity a
			join pg_roles r on r.oid = a.usesysid
			where a.datname = current_database() and a.application_name like 'fedsender:%'
		)
		select coalesce((select array_agg(quote_ident(name) order by name) from role), '{}'),
			coalesce((
				select array_agg(distinct quote_ident(a.name) order by quote_ident(a.name))
				from role a
				join role b on b.oid <> a.oid
				where not (pg_has_role(a.oid, b.oid, 'usage') or pg_has_role(a.oid, 'pg_signal_backend', 'usage') and not b.rolsuper)), '{}')`, &all, &helpless) {
		return
	}
	switch {
	case len(helpless) > 0:
		d.add(what, Warn, fmt.Sprintf("they run as %s: if a process hangs, %s may not end its session, and its instances wait", strings.Join(all, ", "), strings.Join(helpless, ", ")),
			"run all as one role, or grant pg_signal_backend to "+strings.Join(helpless, ", "))
	case len(all) > 1:
		d.add(what, OK, "they run as "+strings.Join(all, ", ")+", and may end each other's sessions", "")
	}
}
