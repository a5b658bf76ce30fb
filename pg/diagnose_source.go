package pg

import (
	"fmt"
	"strings"
)

// shownDomains bounds a list of instances.
const shownDomains = 5

// triggers looks whether the application's tables tell of what happens to them.
func (d *diagnosis) triggers() {
	const what = "triggers"
	var rings, may bool
	var silent []string
	var owner string
	if !d.ask(what, `
		select s.rings, s.silent_tables, quote_ident(pg_get_userbyid(n.nspowner)),
			not exists (select from unnest(s.silent_tables) as t where not has_table_privilege(n.nspowner, t, 'trigger'))
		from fedsender.source s, pg_namespace n
		where n.nspname = 'fedsender'`, &rings, &silent, &owner, &may) {
		return
	}
	if rings {
		d.add(what, OK, "they tell of activities and of what changes", "")
		return
	}
	says := "they are missing: processes look for activities every 100 ms, and for followers, instances and lists every minute"
	if len(silent) > 0 {
		says = "those of " + strings.Join(silent, ", ") + " are missing: processes look for activities every 100 ms, and for followers, instances and lists every minute"
	}
	mend := "run: sender migrate"
	if !may {
		mend = "grant trigger on " + strings.Join(silent, ", ") + " to " + owner + "; then run: sender migrate"
	}
	d.add(what, Warn, says, mend)
}

// strays lists the instances that are paused because another program moved their cursor.
func (d *diagnosis) strays() {
	const what = "moved cursors"
	var count int
	var domains []string
	if !d.ask(what, fmt.Sprintf(`
		with stray as (
			select i.domain
			from fedsender.instance_control c
			join fedsender.source_instance i on i.id = c.instance_id
			where c.paused_until > now() and c.note like '%s%%'
		)
		select count(*), coalesce((array_agg(domain order by domain))[:%d], '{}') from stray`, strayWords, shownDomains), &count, &domains) || count == 0 {
		return
	}
	if count > len(domains) {
		domains = append(domains, fmt.Sprintf("and %d more", count-len(domains)))
	}
	d.add(what, Warn, "another program moved the cursors of "+strings.Join(domains, ", ")+", which are paused since: is the application's own sender still running?",
		"stop it, then for each: sender resume DOMAIN")
}
