package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Querier is what reads need: a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Activity is a row of fedsender.source_activity. KeyID and Body are empty where only the rest was asked for.
type Activity struct {
	ID           int64
	ActorID      int64
	KeyID        string // overrides the actor's; with # in front: behind the id of the actor in Body; empty: the actor's own
	PublishedAt  time.Time
	Inboxes      []string
	FollowersOf  []int64
	AllInstances bool
	XID          uint64 // the inserting transaction, for [Start.Older]
	Body         string
	Traceparent  string // W3C Trace Context, as the application wrote it; empty where only the rest was asked for
}

// activityColumns are those that decide whom an activity is for. What it costs a source to find out the rest, a million rows
// that nobody wants must not pay.
//
// Applications write these rows. A null in an array or a date that a time.Time can't be would be an error of the whole
// read, of every row with it and for ever: nulls are passed over and dates are brought near. Nulls are looked for here: where
// an array is an expression of the view's, each mention of it is planned and computed anew.
var activityColumns = `id, actor_id, ` + near("published_at") + `, send_inboxes, send_followers_of, send_all_instances, xid`

// activityText is the rest. It cuts what is too long to be sent, so that a body of any size costs no memory: 1 MiB is the
// limit, and a character more tells that it was passed. withoutText stands in its place.
const (
	activityText = `coalesce(key_id, ''), left(body, 1048577), coalesce(left(traceparent, 128), '')`
	withoutText  = `'', '', ''`
)

// near is a column of times with what is out of a time.Time's range, infinity included, brought to its ends.
func near(column string) string {
	return `case when ` + column + ` > '9999-01-01' then '9999-01-01' when ` + column + ` < '1970-01-01' then '1970-01-01' else ` + column + ` end`
}

func scanActivity(row pgx.CollectableRow) (a Activity, err error) {
	var inboxes pgtype.FlatArray[*string]
	var followersOf pgtype.FlatArray[*int64]
	err = row.Scan(&a.ID, &a.ActorID, &a.PublishedAt, &inboxes, &followersOf, &a.AllInstances, &a.XID, &a.KeyID, &a.Body, &a.Traceparent)
	a.Inboxes, a.FollowersOf = withoutNulls(inboxes), withoutNulls(followersOf)
	return a, err
}

// withoutNulls are the elements of an array of any number of dimensions; none is nil.
func withoutNulls[T any](array []*T) (elements []T) {
	for _, element := range array {
		if element != nil {
			elements = append(elements, *element)
		}
	}
	return elements
}

// ReadRange returns the activities in (after, through], without keys and bodies, in the order of their ids, at most limit of them.
func ReadRange(ctx context.Context, q Querier, after, through int64, limit int) ([]Activity, error) {
	rows, err := q.Query(ctx, `
		select `+activityColumns+`, `+withoutText+`
		from fedsender.source_activity
		where id > $1 and id <= $2
		order by id
		limit $3`, after, through, limit)
	return collect("read activities", rows, err, scanActivity)
}

// ReadActivities returns the activities with these ids, with bodies. Ids that are gone are missing.
func ReadActivities(ctx context.Context, q Querier, ids []int64) ([]Activity, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := q.Query(ctx, `
		select `+activityColumns+`, `+activityText+`
		from fedsender.source_activity
		where id = any ($1)
		order by id`, ids)
	return collect("read activities by id", rows, err, scanActivity)
}

// Instance is a row of fedsender.source_instance.
type Instance struct {
	ID          int32
	Domain      string
	SharedInbox string // empty: it has none
	CreatedAt   time.Time
	LastSeenAt  time.Time // zero: never
}

var instanceColumns = `id, domain, coalesce(shared_inbox, ''), ` + near("created_at") + `, ` + near("last_seen_at")

func scanInstance(row pgx.CollectableRow) (i Instance, err error) {
	var seen *time.Time
	err = row.Scan(&i.ID, &i.Domain, &i.SharedInbox, &i.CreatedAt, &seen)
	i.LastSeenAt = orZero(seen)
	return i, err
}

// ReadInstances returns the instances with these ids; those that are gone are missing.
func ReadInstances(ctx context.Context, q Querier, ids []int32) ([]Instance, error) {
	rows, err := q.Query(ctx, `select `+instanceColumns+` from fedsender.source_instance where id = any ($1)`, ids)
	return collect("read instances", rows, err, scanInstance)
}

// Follower is a row of fedsender.source_follower.
type Follower struct {
	ActorID    int64
	InstanceID int32
	Inbox      string
	Shared     bool
}

// Pair names the followers of one actor on one instance.
type Pair struct {
	ActorID    int64
	InstanceID int32
}

// ReadPairs returns the distinct inboxes of these pairs; a pair without followers is missing.
func ReadPairs(ctx context.Context, q Querier, pairs []Pair) ([]Follower, error) {
	actors, instances := make([]int64, len(pairs)), make([]int32, len(pairs))
	for i, p := range pairs {
		actors[i], instances[i] = p.ActorID, p.InstanceID
	}
	rows, err := q.Query(ctx, `
		select actor_id, instance_id, inbox, is_shared
		from fedsender.followers_of($1::bigint[], $2::int[])`, actors, instances)
	return collect("read followers", rows, err, pgx.RowToStructByPos[Follower])
}

// Tombstone is an unfollow: the follower still gets activities up to ThroughID.
type Tombstone struct {
	ActorID    int64
	InstanceID int32
	Inbox      string
	Shared     bool
	ThroughID  int64
}

// ListEntry is a row of fedsender.source_domain_list.
type ListEntry struct {
	Domain    string
	ExpiresAt time.Time // zero: never
}

// ReadLists returns the allow list and the block list.
func ReadLists(ctx context.Context, q Querier) (allow, block []ListEntry, err error) {
	rows, err := q.Query(ctx, `select list, domain, `+near("expires_at")+` from fedsender.source_domain_list`)
	if err != nil {
		return nil, nil, fmt.Errorf("read domain lists: %w", err)
	}
	var (
		list    string
		entry   ListEntry
		expires *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&list, &entry.Domain, &expires}, func() error {
		entry.ExpiresAt = orZero(expires)
		if list == "allow" {
			allow = append(allow, entry)
		} else {
			block = append(block, entry)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read domain lists: %w", err)
	}
	return allow, block, nil
}

// Actor is who signs an activity: a row of fedsender.actor_of. Its key must not be logged.
type Actor struct {
	Found         bool // there is such an actor
	KeyID         string
	PrivateKeyPEM string // empty: none
}

// ReadActor returns who signs an activity. gone says that the activity is no more: then nothing is known of its actor.
func ReadActor(ctx context.Context, q Querier, activityID int64) (a Actor, gone bool, err error) {
	err = q.QueryRow(ctx, `
		select a.id is not null, coalesce(a.key_id, ''), coalesce(a.private_key_pem, '')
		from fedsender.source_activity s
		left join fedsender.actor_of($1) a on true
		where s.id = $1`, activityID).Scan(&a.Found, &a.KeyID, &a.PrivateKeyPEM)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, true, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("read the actor of activity %d: %w", activityID, err)
	}
	return a, false, nil
}

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

// freshInstances are those of $1 that have no cursor.
const freshInstances = `
	select i.id
	from fedsender.source_instance i
	where i.id = any ($1) and not exists (select from fedsender.source_queue_state q where q.instance_id = i.id)`

// BeginFresh is [BeginInstances] for those of the instances that have no cursor.
func BeginFresh(ctx context.Context, q Querier, ids []int32) error {
	rows, err := q.Query(ctx, freshInstances, ids)
	fresh, err := collect("look for instances that have no cursor", rows, err, pgx.RowTo[int32])
	if err != nil || len(fresh) == 0 {
		return err
	}
	return BeginInstances(ctx, q, fresh)
}

// beginBefore gives instances that have no cursor one that is not past the activity that named them.
func beginBefore(ctx context.Context, tx pgx.Tx, ids []int32, activityID int64) error {
	rows, err := tx.Query(ctx, freshInstances, ids)
	fresh, err := collect("look for instances that have no cursor", rows, err, pgx.RowTo[int32])
	if err != nil || len(fresh) == 0 {
		return err
	}
	if err := BeginInstances(ctx, tx, fresh); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		select fedsender.place_cursors(array_agg(instance_id), array_agg($2::bigint))
		from fedsender.source_queue_state
		where instance_id = any ($1) and last_successful_id > $2
		having count(*) > 0`, fresh, activityID-1)
	return err
}

// BeginInstances gives instances a cursor that came without one, because no trigger fired when their rows were made.
func BeginInstances(ctx context.Context, q Querier, ids []int32) error {
	if _, err := q.Exec(ctx, `select fedsender.begin_instances($1)`, ids); err != nil {
		return fmt.Errorf("begin with instances that have no cursor: %w", err)
	}
	return nil
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

// lockAdopted locks the application's tables that Adopt needs, before there is a round trip between two of them: see
// lockPatience.
const lockAdopted = `select from fedsender.source_instance, fedsender.source_queue_state limit 0`

// Adopt makes the instances of domains that an activity's inboxes name, so that they begin with that activity, and
// returns the rows of all of them, those that were there already included. Of those, one that has no cursor gets it.
func Adopt(ctx context.Context, db Beginner, activityID int64, domains []string) ([]Instance, error) {
	var instances []Instance
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockAdopted); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			select fedsender.place_cursors(made.ids, array_fill($2::bigint, array[cardinality(made.ids)]))
			from (select array_agg(id) as ids from fedsender.adopt_instances($1) as id) made
			where made.ids is not null`, domains, activityID-1)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select `+instanceColumns+` from fedsender.source_instance where domain = any ($1)`, domains)
		if err != nil {
			return err
		}
		if instances, err = pgx.CollectRows(rows, scanInstance); err != nil {
			return err
		}
		ids := make([]int32, len(instances))
		for n, i := range instances {
			ids[n] = i.ID
		}
		return beginBefore(ctx, tx, ids, activityID)
	})
	if err != nil {
		return nil, fmt.Errorf("make instances for inboxes of activity %d: %w", activityID, err)
	}
	return instances, nil
}

// Beginner starts transactions: a pool or a connection.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

func collect[T any](what string, rows pgx.Rows, err error, scan pgx.RowToFunc[T]) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return list, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
