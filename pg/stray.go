package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// AnnouncedCursors returns those of the instances whose cursor fedsender.move_cursor moved in a transaction that the
// snapshot does not see; nil sees none.
func AnnouncedCursors(ctx context.Context, q Querier, ids []int32, since *Snapshot) ([]int32, error) {
	snapshot := "1:1:"
	if since != nil {
		snapshot = since.String()
	}
	rows, err := q.Query(ctx, `
		select distinct instance_id
		from fedsender.change
		where kind = 'cursor'
		  and instance_id = any ($1::int[])
		  and xid >= pg_snapshot_xmin($2::text::pg_snapshot)
		  and not pg_visible_in_snapshot(xid, $2::text::pg_snapshot)`, ids, snapshot)
	return collect("read whose cursors were moved", rows, err, pgx.RowTo[int32])
}

// Stray is an instance whose cursor another program moved.
type Stray struct {
	InstanceID int32
	Domain     string
	From, To   int64
}

// strayWords begin the note of an instance that was paused because of that.
const strayWords = "its cursor was moved by another program"

func (s Stray) note() string {
	return fmt.Sprintf("%s (from %d to %d): is the application's own sender still running? Stop it, then: sender resume %s",
		strayWords, s.From, s.To, s.Domain)
}

// PauseStrays pauses instances for ever and says why in their note and last_error. What was known of activities beyond the
// cursor is void: who resumes one goes on from where its cursor is then. One that was deleted is left out.
func PauseStrays(ctx context.Context, q Querier, strays []Stray) error {
	ids, notes := make([]int32, len(strays)), make([]string, len(strays))
	for i, s := range strays {
		ids[i], notes[i] = s.InstanceID, s.note()
	}
	_, err := q.Exec(ctx, `
		with stray as (
		  select v.id, v.note
		  from unnest($1::int[], $2::text[]) as v(id, note)
		  join fedsender.source_instance i on i.id = v.id
		), control as (
		  insert into fedsender.instance_control (instance_id, paused_until, note)
		  select id, 'infinity', note from stray
		  on conflict (instance_id) do update
		  set paused_until = excluded.paused_until, note = excluded.note
		)
		insert into fedsender.instance_health (instance_id, last_error, last_error_at)
		select id, note, now() from stray
		on conflict (instance_id) do update
		set last_error = excluded.last_error, last_error_at = excluded.last_error_at, last_http_status = null,
		  ahead_id = 0, held = '[]'`, ids, notes)
	return wrap("pause instances whose cursors were moved", err)
}
