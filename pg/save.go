package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Checkpoint is what is written of one instance. The field names are those of fedsender.save_checkpoints.
type Checkpoint struct {
	InstanceID    int32           `json:"instance_id"`
	Expected      int64           `json:"expected"` // the cursor that was last read or written; another one there is left alone
	Cursor        int64           `json:"cursor_id"`
	PublishedAt   *time.Time      `json:"published_at"`
	FailCount     int             `json:"fail_count"`
	LastRetryAt   *time.Time      `json:"last_retry_at"`
	NotBefore     *time.Time      `json:"not_before"`
	Throttles     int             `json:"throttles"`
	GoneAt        []time.Time     `json:"gone_at"`
	Gone          bool            `json:"gone"`
	LastSuccessAt *time.Time      `json:"last_success_at"`
	LastError     string          `json:"last_error"`
	LastStatus    int             `json:"last_http_status"`
	LastErrorAt   *time.Time      `json:"last_error_at"`
	AheadID       int64           `json:"ahead_id"`
	Held          json.RawMessage `json:"held"`
}

// Letter is a row of dead_letter.
type Letter struct {
	ActivityID      int64
	InstanceID      int32   // 0: see InstanceIDs, or the inbox names no server
	InstanceIDs     []int32 // those that did not get what could not be prepared, if they are several
	Inbox           string  // empty: all of the activity
	Reason          string
	HTTPStatus      int // 0: there was no answer
	Attempts        int
	FirstAt, LastAt time.Time
}

// Passed is instances of which only the cursor moved, to one place: nothing was meant for them.
type Passed struct {
	Cursor      int64
	PublishedAt *time.Time
	InstanceIDs []int32
	Expected    []int64 // as in [Checkpoint]
}

// Saving is what one transaction writes.
type Saving struct {
	Checkpoints []Checkpoint
	Passed      Passed
	Letters     []Letter
	Redelivered []Redelivery // settled as it was read; one that was asked for again since with other inboxes stays
}

// Empty says whether there is nothing to write.
func (s *Saving) Empty() bool {
	return len(s.Checkpoints)+len(s.Passed.InstanceIDs)+len(s.Letters)+len(s.Redelivered) == 0
}

// lockSaved takes every lock that the statements of a save take on tables of the application's. The first of them may take
// long, and the next one must not wait then: see lockPatience.
const lockSaved = `select fedsender.save_checkpoints('[]') where not exists (select from fedsender.source_instance limit 0)`

// statements is how many it takes to write it all.
func (s *Saving) statements() (n int) {
	for _, rows := range []int{len(s.Letters), len(s.Redelivered), len(s.Passed.InstanceIDs), len(s.Checkpoints)} {
		if rows > 0 {
			n++
		}
	}
	return n
}

// Batch is what writes it all, in five statements at most: one round trip, because a database that is far away must not
// keep settled deliveries unsaved for several. Sent outside a transaction it is one. Once that is committed, saved has the
// instances whose cursor was written. The cursor of one that is missing was moved by somebody else. Letters for rows that
// are gone are dropped with them.
func (s *Saving) Batch() (batch *pgx.Batch, saved map[int32]bool, err error) {
	batch = &pgx.Batch{}
	saved = make(map[int32]bool, len(s.Checkpoints)+len(s.Passed.InstanceIDs))
	note := func(rows pgx.Rows) error {
		ids, err := collect("save cursors", rows, nil, pgx.RowTo[int32])
		for _, id := range ids {
			saved[id] = true
		}
		return err
	}
	if s.statements() > 1 {
		batch.Queue(lockSaved).Query(failing("lock tables"))
	}
	s.queueLetters(batch)
	s.queueRedeliveries(batch)
	if p := &s.Passed; len(p.InstanceIDs) > 0 {
		batch.Queue(`select fedsender.pass_cursors($1, $2, $3, $4)`, p.InstanceIDs, p.Expected, p.Cursor, p.PublishedAt).Query(note)
	}
	if len(s.Checkpoints) > 0 {
		text, err := json.Marshal(s.Checkpoints)
		if err != nil {
			return nil, nil, fmt.Errorf("save cursors: %w", err)
		}
		batch.Queue(`select fedsender.save_checkpoints($1::text::jsonb)`, string(text)).Query(note)
	}
	return batch, saved, nil
}

func (s *Saving) queueLetters(batch *pgx.Batch) {
	letters := mergeLetters(s.Letters)
	n := len(letters)
	if n == 0 {
		return
	}
	activities, instances, inboxes, reasons := make([]int64, n), make([]*int32, n), make([]*string, n), make([]string, n)
	statuses, attempts, firsts, lasts := make([]*int32, n), make([]int32, n), make([]time.Time, n), make([]time.Time, n)
	sets := make([]*string, n)
	for i := range letters {
		l := &letters[i]
		activities[i], reasons[i], attempts[i], firsts[i], lasts[i] = l.ActivityID, l.Reason, int32(l.Attempts), l.FirstAt, l.LastAt
		if l.InstanceID != 0 {
			instances[i] = &l.InstanceID
		}
		if l.Inbox != "" {
			inboxes[i] = &l.Inbox
		}
		if l.HTTPStatus != 0 {
			status := int32(l.HTTPStatus)
			statuses[i] = &status
		}
		if len(l.InstanceIDs) > 0 {
			set := ranges(l.InstanceIDs)
			sets[i] = &set
		}
	}
	batch.Queue(`
		insert into fedsender.dead_letter as d
		  (activity_id, instance_id, inbox, reason, http_status, attempts, first_at, last_at, instance_ids)
		select v.activity_id, v.instance_id, v.inbox, v.reason, v.http_status, v.attempts, v.first_at, v.last_at, v.instance_ids::int4multirange
		from unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::int[], $6::int[], $7::timestamptz[], $8::timestamptz[], $9::text[])
		  as v(activity_id, instance_id, inbox, reason, http_status, attempts, first_at, last_at, instance_ids)
		where v.instance_id is null or exists (select from fedsender.source_instance i where i.id = v.instance_id)
		on conflict (activity_id, coalesce(instance_id, 0), md5(coalesce(inbox, '')))
		do update set instance_ids = d.instance_ids + excluded.instance_ids
		where not excluded.instance_ids <@ d.instance_ids`,
		activities, instances, inboxes, reasons, statuses, attempts, firsts, lasts, sets).Query(failing("save dead letters"))
}

func (s *Saving) queueRedeliveries(batch *pgx.Batch) {
	n := len(s.Redelivered)
	if n == 0 {
		return
	}
	instances, activities, inboxes := make([]int32, n), make([]int64, n), make([]string, n)
	for i, r := range s.Redelivered {
		instances[i], activities[i], inboxes[i] = r.InstanceID, r.ActivityID, r.Inbox
	}
	batch.Queue(`
		delete from fedsender.redelivery r
		using unnest($1::int[], $2::bigint[], $3::text[]) as v(instance_id, activity_id, inbox)
		where r.instance_id = v.instance_id and r.activity_id = v.activity_id and r.inbox = v.inbox`,
		instances, activities, inboxes).Query(failing("delete redeliveries"))
}

// failing says in the error of a statement without rows what it was for.
func failing(what string) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
}

// PublishHorizon says that some process has dealt with everything up to id.
func PublishHorizon(ctx context.Context, q Querier, id int64) error {
	if _, err := q.Exec(ctx, `update fedsender.feed set horizon = $1 where horizon < $1`, id); err != nil {
		return fmt.Errorf("publish the horizon: %w", err)
	}
	return nil
}
