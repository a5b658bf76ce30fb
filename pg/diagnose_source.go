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

// sourceRights names each privilege on tables of the application that a process needs and its role lacks, or that the owner
// of the schema does: views and triggers read with the owner's rights, and write nothing of the application's.
func (d *diagnosis) sourceRights() {
	const what = "rights on the application's tables"
	var lacking, grants []string
	var needed int
	if !d.ask(what, `
		with needed as (
			select r.relation, r.attribute, r.privilege || coalesce(' (' || quote_ident(r.attribute) || ')', '') as privilege, u.role,
				case when r.attribute is null then has_table_privilege(u.role, r.relation, r.privilege)
				else has_column_privilege(u.role, r.relation, r.attribute, r.privilege) end as given
			from fedsender.source_right r
			cross join (
				select current_user as role
				union
				select pg_get_userbyid(n.nspowner) from pg_namespace n where n.nspname = 'fedsender'
			) u
			where u.role = current_user or r.privilege = 'select'
		), lacking as (
			select string_agg(privilege, ', ' order by privilege) || ' on ' || relation as what, quote_ident(role) as role
			from needed
			where not given
			group by relation, role
		)
		select (select count(*) from needed), coalesce(array_agg(role || ' lacks ' || what order by role, what), '{}'),
			coalesce(array_agg('grant ' || what || ' to ' || role order by role, what), '{}')
		from lacking`, &needed, &lacking, &grants) || needed == 0 {
		return
	}
	if len(lacking) > 0 {
		d.add(what, Bad, "role "+strings.Join(lacking, "; role "), strings.Join(grants, "; "))
		return
	}
	d.add(what, OK, "the role may read and write all that it needs", "")
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
