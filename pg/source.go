package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier is what reads need: a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Beginner starts transactions: a pool or a connection.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
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

// near is a column of times with what is out of a time.Time's range, infinity included, brought to its ends.
func near(column string) string {
	return `case when ` + column + ` > '9999-01-01' then '9999-01-01' when ` + column + ` < '1970-01-01' then '1970-01-01' else ` + column + ` end`
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
