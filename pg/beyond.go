package pg

import (
	"context"
	"fmt"
	"strings"
)

// Beyond are the instances whose cursor is beyond the newest activity. They look as if nothing waited for them.
type Beyond struct {
	Newest  int64 // no id above it is there; 0: there are no activities
	Drawn   bool  // nor was one ever drawn, as far as the sequence of the ids says, which this role may read
	Count   int
	Domains []string // some of them
}

// BeyondRemedy is what an operator does for each of them.
const BeyondRemedy = "sender skip DOMAIN --to latest, or sender replay DOMAIN --since TIME"

// String says what that means.
func (b Beyond) String() string {
	if b.Drawn {
		return fmt.Sprintf("cursors are beyond the last id that was drawn (%d), as after a restore from an older backup: nothing is sent to these instances before the ids have caught up", b.Newest)
	}
	return fmt.Sprintf("cursors are beyond the newest activity (id %d): if the tables came back from an older backup, nothing is sent to these instances before the ids have caught up; if the application deleted its newest rows, all is well (the sequence of the ids tells which)", b.Newest)
}

// idSequences are the sequences, and what else hangs on the table, that the ids of activities may be drawn from.
const idSequences = `
	select o.refobjid
	from fedsender.source s
	join pg_attrdef d on d.adrelid = s.activity_table
	join pg_depend o on o.classid = 'pg_attrdef'::regclass and o.objid = d.oid and o.refclassid = 'pg_class'::regclass
	union
	select o.objid
	from fedsender.source s
	join pg_depend o on o.classid = 'pg_class'::regclass and o.refclassid = 'pg_class'::regclass and o.refobjid = s.activity_table
	where o.deptype in ('a', 'i')`

// ReadBeyond looks for them. Where there is no activity at all, they were pruned, and there are none. Rows that were deleted
// do not matter where the sequence of the ids can be read: the next id is beyond the cursors all the same.
func ReadBeyond(ctx context.Context, q Querier) (b Beyond, err error) {
	err = q.QueryRow(ctx, fmt.Sprintf(`
		with sequence (id) as (%s), drawn as (
			select case when count(*) = 1 then max(case when has_sequence_privilege(s.seqrelid, 'select, usage') then pg_sequence_last_value(s.seqrelid) end) end as id
			from pg_sequence s
			join sequence on sequence.id = s.seqrelid
		), newest as (
			select max(id) as id from fedsender.source_activity
		), top as (
			select greatest(n.id, d.id) as id, d.id is not null as drawn
			from newest n, drawn d
			where n.id is not null
		), beyond as (
			select i.domain
			from fedsender.source_queue_state q
			join fedsender.source_instance i on i.id = q.instance_id
			where q.last_successful_id > (select id from top)
		)
		select coalesce((select id from top), 0), coalesce((select drawn from top), false), count(*),
			coalesce((array_agg(domain order by domain))[:%d], '{}')
		from beyond`, idSequences, shownDomains)).Scan(&b.Newest, &b.Drawn, &b.Count, &b.Domains)
	if err != nil {
		return b, fmt.Errorf("look for cursors beyond the newest activity: %w", err)
	}
	if b.Count > len(b.Domains) {
		b.Domains = append(b.Domains, fmt.Sprintf("and %d more", b.Count-len(b.Domains)))
	}
	return b, nil
}

// beyond lists the instances whose cursor is beyond the newest activity.
func (d *diagnosis) beyond() {
	const what = "cursors"
	b, err := ReadBeyond(d.ctx, d.conn)
	switch {
	case err != nil:
		d.unknown(what, err)
	case b.Count > 0:
		d.add(what, Warn, b.String()+": "+strings.Join(b.Domains, ", "), "for each: "+BeyondRemedy)
	}
}
