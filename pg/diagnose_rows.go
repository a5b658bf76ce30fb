package pg

import (
	"fmt"
	"strings"
)

// singleRow makes the row of a table that has one, with what can be said without it.
type singleRow struct{ table, insert string }

// singleRows are what a partial restore, or somebody's TRUNCATE, leaves out.
var singleRows = []singleRow{
	{"doorbell", `insert into fedsender.doorbell (armed) select false where not exists (select from fedsender.doorbell) on conflict (one) do nothing`},
	// The feed has gone by what is settled for everybody. Higher cursors are no proof: an operator may have moved them.
	{"feed", `
		insert into fedsender.feed (horizon)
		select greatest(coalesce(min(last_successful_id), 0), 0) from fedsender.source_queue_state
		on conflict (one) do nothing`},
	{"sweep", `insert into fedsender.sweep (xid) values (pg_snapshot_xmin(pg_current_snapshot())) on conflict (one) do nothing`},
	{"balance", restoreBalance},
	{"autoscale_setting", `insert into fedsender.autoscale_setting default values on conflict (one) do nothing`},
}

// rows looks for tables that must have one row and have none, and at what stands in balance.
func (d *diagnosis) rows() {
	const what = "single rows"
	var empty []string
	for _, single := range singleRows {
		var exists bool
		if !d.ask(what, `select exists (select from fedsender.`+single.table+`)`, &exists) {
			return
		}
		if !exists {
			empty = append(empty, "fedsender."+single.table)
		}
	}
	if len(empty) > 0 {
		d.add(what, Bad, strings.Join(empty, ", ")+" should have one row and have none (a partial restore?)", "run: sender migrate, which makes them again")
	} else {
		d.add(what, OK, "each is there", "")
	}
	d.weights()
}

func (d *diagnosis) weights() {
	const what = "weights"
	var sound bool
	// In the order of a CASE: what is asked further down may fail where what is above does not hold.
	if !d.ask(what, `
		select coalesce(bool_and(case
			when weights::text like '%\\u%' or json_typeof(weights) <> 'object' then false
			when coalesce(json_typeof(weights -> 'processes'), 'array') <> 'array' or coalesce(json_typeof(weights -> 'heavy'), 'array') <> 'array' then false
			else not exists (
				select from json_array_elements(coalesce(weights -> 'processes', '[]')) c
				where c ->> 'id' is null or c ->> 'percent' is null or c ->> 'percent' !~ '^[1-9][0-9]{0,5}$')
			end), true)
		from fedsender.balance`, &sound) {
		return
	}
	if !sound {
		d.add(what, Warn, "fedsender.balance holds something that no sender wrote; it is passed over", "update fedsender.balance set weights = '{}', version = version + 1")
	}
}

// strangers looks for advisory locks where the leases are, of sessions that are no sender.
func (d *diagnosis) strangers() {
	const what = "locks of others"
	var found []string
	if !d.ask(what, `
		with stranger as (
			select coalesce('pid ' || l.pid || coalesce(' (' || nullif(a.application_name, '') || ')', ''), 'a prepared transaction') as who, count(*) as locks
			from fedsender.held_leases() l
			left join pg_stat_activity a on a.pid = l.pid
			where a.application_name is null or a.application_name not like 'fedsender:%'
			group by 1
		)
		select coalesce(array_agg(who || ' holds ' || locks order by locks desc, who), '{}') from stranger`, &found) {
		return
	}
	if len(found) > 0 {
		d.add(what, Bad, fmt.Sprintf("%s of the advisory locks that are leases, and is no sender: nobody delivers to those instances", strings.Join(found, ", ")),
			fmt.Sprintf("end it: pg_terminate_backend(pid); no other program may use advisory locks of the class %d", LeaseClass))
	}
}

// places looks whether the processes that run may hold all instances together.
func (d *diagnosis) places() {
	const what = "SENDER_MAX_LEASES"
	var running, limited, places, instances int64
	if !d.ask(what, `
		with process as (
			select distinct on (split_part(application_name, ':', 2))
				nullif(substring(application_name from '^fedsender:[^:]+:(\d{1,9})')::bigint, 0) as most
			from pg_stat_activity
			where datname = current_database() and application_name like 'fedsender:%' and application_name not like '%:leaving'
		)
		select count(*), count(most), coalesce(sum(most), 0)::bigint, (select count(*) from fedsender.source_instance) from process`,
		&running, &limited, &places, &instances) {
		return
	}
	if running > 0 && limited == running && places < instances {
		d.add(what, Warn, fmt.Sprintf("the %d processes that run may hold %d instances together, and there are %d: the rest must wait for a turn", running, places, instances),
			"raise SENDER_MAX_LEASES, or start more processes")
	}
}
