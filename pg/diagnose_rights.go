package pg

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// needed is what a process does with a thing of schema fedsender, itself or by a function that runs with its rights.
// Triggers and views run with those of the owner.
type needed struct {
	name       string
	privileges string // between commas
}

var neededOnTables = []needed{
	{"schema_version", "select"},
	{"source", "select"},
	{"source_activity", "select"},
	{"source_instance", "select"},
	{"source_follower", "select"},
	{"source_actor", "select"},
	{"source_domain_list", "select"},
	{"source_queue_state", "select"},
	{"queue_summary", "select"},
	{"process_status", "select"},
	{"instance_status", "select"},
	{"activity", "select,delete"}, // prune
	{"instance", "select,insert,update"},
	{"queue_state", "select,insert,update"},
	{"instance_health", "select,insert,update"},
	{"instance_start", "select,delete"},
	{"dead_letter", "select,insert,update"},
	{"redelivery", "select,delete"},
	{"follower_tombstone", "select,delete"},
	{"change", "select,delete"},
	{"doorbell", "select,update"},
	{"feed", "select,update"},
	{"sweep", "select,update"},
	{"process", "select,insert,update,delete"},
	{"balance", "select,insert,update"},
	{"history", "select,insert,update,delete"},
	{"demand", "select,insert,update"},
}

var neededFunctions = []string{
	"adopt_instances", "begin_instances", "place_cursors", "save_checkpoints", "pass_cursors", "prune",
	"actor_of", "followers_of", "held_leases", "sessions", "lag_slot", "lag_distance", "autoscale_at", "note_demand",
}

// rights names each privilege that a process needs and the role lacks. It does not need any of them itself.
func (d *diagnosis) rights() {
	var names, privileges []string
	for _, n := range neededOnTables {
		for _, privilege := range strings.Split(n.privileges, ",") {
			names, privileges = append(names, n.name), append(privileges, privilege)
		}
	}
	var stops bool
	if err := d.conn.QueryRow(d.ctx, `select stops_on_moved_cursor from fedsender.source`).Scan(&stops); err == nil && stops {
		for _, privilege := range []string{"select", "insert", "update"} {
			names, privileges = append(names, "instance_control"), append(privileges, privilege)
		}
	}
	var missing, grants []string
	err := d.conn.QueryRow(d.ctx, `
		with schema as (
			select oid from pg_namespace where nspname = 'fedsender'
		), missing as (
			select 1 as place, 'usage on schema fedsender' as what
			from schema
			where not has_schema_privilege(oid, 'usage')
			union all
			select 2, string_agg(n.privilege, ', ' order by n.place) || ' on fedsender.' || c.relname
			from unnest($1::text[], $2::text[]) with ordinality as n(name, privilege, place)
			join pg_class c on c.relname = n.name and c.relnamespace = (select oid from schema)
			where not has_table_privilege(c.oid, n.privilege)
			group by c.relname
			union all
			select 3, 'execute on function ' || p.oid::regprocedure
			from pg_proc p
			where p.pronamespace = (select oid from schema) and p.proname = any ($3::text[]) and not has_function_privilege(p.oid, 'execute')
		)
		select coalesce(array_agg(what order by place, what), '{}'),
			coalesce(array_agg('grant ' || what || ' to ' || quote_ident(current_user) order by place, what), '{}')
		from missing`, names, privileges, neededFunctions).Scan(&missing, &grants)
	const what = "rights"
	switch {
	case err != nil:
		d.unknown(what, err)
	case len(missing) > 0:
		d.add(what, Bad, "the role lacks "+strings.Join(missing, "; "), strings.Join(grants, "; ")+" (all at once: docs/sql.md, Roles: sender); or run as the owner of schema fedsender")
	default:
		d.add(what, OK, "the role may read, write and call all that it needs", "")
	}
}

// parts looks whether anything of the schema was dropped or changed.
func (d *diagnosis) parts() {
	const what = "parts of the schema"
	lacks, err := lacking(d.ctx, d.conn)
	switch {
	case err != nil:
		d.unknown(what, err)
	case len(lacks) > 0:
		d.add(what, Bad, "these were dropped or changed: fedsender."+firstOf(partsOf(lacks)),
			"run: sender migrate, which makes views again; what is missing after that must come from a backup of schema fedsender")
	default:
		d.add(what, OK, "each is there", "")
	}
}

// partsOf are the tables, views and functions that the lines of the contract are about.
func partsOf(lines []string) (names []string) {
	for _, line := range lines {
		name := line[:strings.IndexAny(line+".", ".( ")]
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// schema tells whether there is one to look into, though it may be of another version.
func (d *diagnosis) schema() bool {
	const what = "schema"
	err := CheckSchema(d.ctx, d.conn)
	switch {
	case err == nil:
		d.add(what, OK, "fedsender is there and of this version", "")
		return true
	case errors.Is(err, ErrNoSchema), errors.Is(err, ErrSchemaOlder):
		d.add(what, Bad, Sentence(err), "run: sender migrate")
	case errors.Is(err, ErrSchemaNewer):
		d.add(what, Bad, Sentence(err), "install the sender that made it")
	case errors.Is(err, ErrNotAllowed):
		d.add(what, Bad, Sentence(err), "grant what is missing: see rights")
		return true
	default:
		d.unknown(what, err)
		return true
	}
	return false
}

// unknown says that a check could not be made, and who stands in its way where that is a lock.
func (d *diagnosis) unknown(what string, err error) {
	says, mend := "can't be found out: "+Sentence(err), "mend what the server says"
	if IsTimeout(err) {
		says, mend = "no answer in time", "see pg_stat_activity for what it waits for"
		if !d.looked {
			d.looked = true
			if l, found := findLocker(context.WithoutCancel(d.ctx), d.cfg); found {
				d.blocker = &l
			}
		}
		if short := shortTimeout(err, identifier(d.cfg.User)); short != "" {
			says, mend = "the server ended the statement", short
		}
		if d.blocker != nil {
			says, mend = says+": "+d.blocker.says(), d.blocker.mend()
		}
	}
	d.add(what, Bad, says, mend)
}
