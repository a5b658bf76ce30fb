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
	InstanceID      int32  // 0: nobody can take the activity, or the inbox names no server
	Inbox           string // empty: all of the activity
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

// Save writes it all in tx, in four statements at most, and returns the instances whose cursor was written. The
// cursor of one that is missing was moved by somebody else. Letters for rows that are gone are dropped with them.
func Save(ctx context.Context, tx pgx.Tx, s *Saving) (saved map[int32]bool, err error) {
	if err := saveLetters(ctx, tx, s.Letters); err != nil {
		return nil, err
	}
	if err := deleteRedeliveries(ctx, tx, s.Redelivered); err != nil {
		return nil, err
	}
	saved = make(map[int32]bool, len(s.Checkpoints)+len(s.Passed.InstanceIDs))
	note := func(rows pgx.Rows, err error) error {
		ids, err := collect("save cursors", rows, err, pgx.RowTo[int32])
		for _, id := range ids {
			saved[id] = true
		}
		return err
	}
	if p := &s.Passed; len(p.InstanceIDs) > 0 {
		err := note(tx.Query(ctx, `select fedsender.pass_cursors($1, $2, $3, $4)`, p.InstanceIDs, p.Expected, p.Cursor, p.PublishedAt))
		if err != nil {
			return nil, err
		}
	}
	if len(s.Checkpoints) == 0 {
		return saved, nil
	}
	text, err := json.Marshal(s.Checkpoints)
	if err != nil {
		return nil, fmt.Errorf("save cursors: %w", err)
	}
	return saved, note(tx.Query(ctx, `select fedsender.save_checkpoints($1::text::jsonb)`, string(text)))
}

func saveLetters(ctx context.Context, tx pgx.Tx, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	n := len(letters)
	activities, instances, inboxes, reasons := make([]int64, n), make([]*int32, n), make([]*string, n), make([]string, n)
	statuses, attempts, firsts, lasts := make([]*int32, n), make([]int32, n), make([]time.Time, n), make([]time.Time, n)
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
	}
	_, err := tx.Exec(ctx, `
		insert into fedsender.dead_letter
		  (activity_id, instance_id, inbox, reason, http_status, attempts, first_at, last_at)
		select v.*
		from unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::int[], $6::int[], $7::timestamptz[], $8::timestamptz[])
		  as v(activity_id, instance_id, inbox, reason, http_status, attempts, first_at, last_at)
		where v.instance_id is null or exists (select from fedsender.source_instance i where i.id = v.instance_id)
		on conflict (activity_id, coalesce(instance_id, 0), md5(coalesce(inbox, ''))) do nothing`,
		activities, instances, inboxes, reasons, statuses, attempts, firsts, lasts)
	if err != nil {
		return fmt.Errorf("save dead letters: %w", err)
	}
	return nil
}

func deleteRedeliveries(ctx context.Context, tx pgx.Tx, done []Redelivery) error {
	if len(done) == 0 {
		return nil
	}
	instances, activities, inboxes := make([]int32, len(done)), make([]int64, len(done)), make([]string, len(done))
	for i, r := range done {
		instances[i], activities[i], inboxes[i] = r.InstanceID, r.ActivityID, r.Inbox
	}
	_, err := tx.Exec(ctx, `
		delete from fedsender.redelivery r
		using unnest($1::int[], $2::bigint[], $3::text[]) as v(instance_id, activity_id, inbox)
		where r.instance_id = v.instance_id and r.activity_id = v.activity_id and r.inbox = v.inbox`, instances, activities, inboxes)
	if err != nil {
		return fmt.Errorf("delete redeliveries: %w", err)
	}
	return nil
}

// PublishHorizon says that some process has dealt with everything up to id.
func PublishHorizon(ctx context.Context, q Querier, id int64) error {
	if _, err := q.Exec(ctx, `update fedsender.feed set horizon = $1 where horizon < $1`, id); err != nil {
		return fmt.Errorf("publish the horizon: %w", err)
	}
	return nil
}
