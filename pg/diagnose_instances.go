package pg

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// peersRead is how many remote servers a caller may choose from.
const peersRead = 20

// Peer is a remote server that can be tried.
type Peer struct {
	Domain string
	Worked bool // it has taken a delivery
}

// peers are those that took a delivery last.
func (d *diagnosis) peers() []Peer {
	rows, err := d.conn.Query(d.ctx, fmt.Sprintf(`
		select i.domain, q.last_success_at is not null
		from fedsender.source_instance i
		left join fedsender.source_queue_state q on q.instance_id = i.id
		order by q.last_success_at desc nulls last, i.id
		limit %d`, peersRead))
	found, err := collect("read remote servers", rows, err, pgx.RowToStructByPos[Peer])
	if err != nil {
		return nil // another check says so
	}
	return found
}

// domains looks for names that no delivery can reach.
func (d *diagnosis) domains() {
	const what = "domains"
	var count, all int
	var odd []string
	if !d.ask(what, fmt.Sprintf(`
		with odd as (
			select domain, case
				when domain = '' then 'is empty'
				when domain ~ '[^ -~]' then 'is not in punycode'
				when domain ~ '[/@?#]' then 'is a URL or an account, no domain'
				when domain <> lower(domain) then 'is not in lower case'
				when domain ~ ':443$' then 'names the port that it has anyway'
				when domain ~ '^\[|^[0-9.]+(:[0-9]+)?$' then 'is an address, no name'
				when domain !~ '\.' or domain ~ '\.(localhost|local|internal|lan|onion)(:[0-9]+)?$' then 'is a name that only some networks know'
				else 'is a name that DNS can''t have'
			end as why
			from fedsender.source_instance
			where domain !~ '^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9](:[0-9]{1,5})?$'
				or domain ~ ':443$|\.(localhost|local|internal|lan|onion)(:[0-9]+)?$'
		)
		select count(*), coalesce((array_agg(domain || ' ' || why order by domain))[:%d], '{}'), (select count(*) from fedsender.source_instance) from odd`, shownDomains), &count, &odd, &all) {
		return
	}
	if count == 0 {
		d.add(what, OK, fmt.Sprintf("the names of %d instances are well formed", all), "")
		return
	}
	if count > len(odd) {
		odd = append(odd, fmt.Sprintf("and %d more", count-len(odd)))
	}
	d.add(what, Warn, fmt.Sprintf("%d of %d instances have odd names, and may never be reached: %s", count, all, strings.Join(odd, "; ")),
		"correct them in the application, or delete those instances there")
}

// versions looks whether the processes that run are of one version, and of the one that asks.
func (d *diagnosis) versions() {
	const what = "versions"
	var versions []string
	if !d.ask(what, `
		select coalesce(array_agg(distinct p.version order by p.version), '{}')
		from fedsender.process p
		where p.id in (
			select split_part(application_name, ':', 2)
			from pg_stat_activity
			where datname = current_database() and application_name like 'fedsender:%'
		)`, &versions) || len(versions) == 0 {
		return
	}
	switch own := d.outside.Version; {
	case len(versions) > 1:
		d.add(what, Warn, "the processes that run have several versions: "+strings.Join(versions, ", "), "finish the upgrade: restart those of the older one (sender status shows which)")
	case own != "" && versions[0] != own:
		d.add(what, Warn, "the processes that run have version "+versions[0]+", this program has "+own, "use the program that runs, or restart the processes with this one")
	default:
		d.add(what, OK, "all processes have version "+versions[0], "")
	}
}
