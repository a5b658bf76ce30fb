package pg

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// QueueState is a row of fedsender.source_queue_state: all that a new holder needs to go on with an instance.
type QueueState struct {
	InstanceID    int32
	Cursor        int64
	PublishedAt   time.Time
	FailCount     int
	LastRetryAt   time.Time
	NotBefore     time.Time
	Throttles     int
	GoneAt        []time.Time
	Gone          bool
	LastSuccessAt time.Time
	LastError     string
	LastStatus    int
	LastErrorAt   time.Time
	AheadID       int64
	Held          json.RawMessage
	PausedUntil   time.Time // the year 9999 for ever
	MaxInFlight   int       // 0: no limit of its own
	Start         *Start    // nil: nothing that is older than the instance lies before it
}

// Start tells what was committed before an instance came into being.
type Start struct {
	Snapshot Snapshot
	XID      uint64 // the transaction that made the instance
	UntilID  int64  // no id above it was committed then
}

// Older says whether the activity was committed before the instance was made. What the same transaction inserted is not.
func (s *Start) Older(a *Activity) bool {
	return s != nil && a.ID <= s.UntilID && a.XID != s.XID && s.Snapshot.Sees(a.XID)
}

// ReadQueueStates returns the states of these instances; one without a row is missing.
func ReadQueueStates(ctx context.Context, q Querier, ids []int32) ([]QueueState, error) {
	rows, err := q.Query(ctx, `
		select instance_id, last_successful_id, `+near("last_successful_published_at")+`, fail_count, `+near("last_retry_at")+`,
		  `+near("not_before")+`, throttles, gone_at, gone, `+near("last_success_at")+`, coalesce(last_error, ''), coalesce(last_http_status, 0),
		  `+near("last_error_at")+`, ahead_id, held, `+near("paused_until")+`, coalesce(max_in_flight, 0),
		  start_snapshot::text, start_xid::text::bigint, start_until_id
		from fedsender.source_queue_state
		where instance_id = any ($1)`, ids)
	return collect("read queue states", rows, err, scanQueueState)
}

func scanQueueState(row pgx.CollectableRow) (s QueueState, err error) {
	var (
		published, retry, notBefore, success, failure, paused *time.Time
		snapshot                                              *string
		xid                                                   *uint64
		until                                                 *int64
	)
	err = row.Scan(&s.InstanceID, &s.Cursor, &published, &s.FailCount, &retry,
		&notBefore, &s.Throttles, &s.GoneAt, &s.Gone, &success, &s.LastError, &s.LastStatus,
		&failure, &s.AheadID, &s.Held, &paused, &s.MaxInFlight,
		&snapshot, &xid, &until)
	if err != nil {
		return s, err
	}
	s.PublishedAt, s.LastRetryAt, s.NotBefore = orZero(published), orZero(retry), orZero(notBefore)
	s.LastSuccessAt, s.LastErrorAt, s.PausedUntil = orZero(success), orZero(failure), orZero(paused)
	if snapshot != nil {
		start := &Start{XID: *xid, UntilID: *until}
		if start.Snapshot, err = ParseSnapshot(*snapshot); err != nil {
			return s, err
		}
		s.Start = start
	}
	return s, nil
}

// Redelivery is a dead letter to try again.
type Redelivery struct {
	InstanceID int32
	ActivityID int64
	Inbox      string // empty: all inboxes of the activity
}

// MaxRedeliveries is how many rows of one instance are read at once.
const MaxRedeliveries = 100

// ReadRedeliveries returns what is to be tried again for these instances, the first MaxRedeliveries of each.
func ReadRedeliveries(ctx context.Context, q Querier, ids []int32) ([]Redelivery, error) {
	rows, err := q.Query(ctx, `
		select r.instance_id, r.activity_id, r.inbox
		from unnest($1::int[]) as i(id)
		cross join lateral (
		  select instance_id, activity_id, inbox
		  from fedsender.redelivery
		  where instance_id = i.id
		  order by activity_id
		  limit $2
		) r`, ids, MaxRedeliveries)
	return collect("read redeliveries", rows, err, pgx.RowToStructByPos[Redelivery])
}
