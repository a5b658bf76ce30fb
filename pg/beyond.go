package pg

import (
	"context"
	"fmt"
	"strings"
)

// Beyond are the instances whose cursor is beyond the newest activity. They look as if nothing waited for them.
type Beyond struct {
	Newest  int64
	Count   int
	Domains []string // some of them
}

// BeyondRemedy is what an operator does for each of them.
const BeyondRemedy = "sender skip DOMAIN --to latest, or sender replay DOMAIN --since TIME"

// String says what that means.
func (b Beyond) String() string {
	return fmt.Sprintf("cursors are beyond the newest activity (id %d), as after a restore from an older backup: nothing is sent to these instances before the ids have caught up", b.Newest)
}

// ReadBeyond looks for them. Where there is no activity at all, they were pruned, and there are none.
func ReadBeyond(ctx context.Context, q Querier) (b Beyond, err error) {
	err = q.QueryRow(ctx, fmt.Sprintf(`
		with newest as (
			select max(id) as id from fedsender.source_activity
		), beyond as (
			select i.domain
			from fedsender.source_queue_state q
			join fedsender.source_instance i on i.id = q.instance_id
			where q.last_successful_id > (select id from newest)
		)
		select coalesce((select id from newest), 0), count(*), coalesce((array_agg(domain order by domain))[:%d], '{}')
		from beyond`, shownDomains)).Scan(&b.Newest, &b.Count, &b.Domains)
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
