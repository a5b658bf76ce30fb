package pg

import (
	"strings"
)

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
