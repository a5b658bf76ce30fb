package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// noDataFound is what the control functions raise for a domain or dead letter that is not there.
const noDataFound = "P0002"

// IsNotFound tells that a control function did not find the instance or dead letter. [Sentence] says which.
func IsNotFound(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == noDataFound
}

// Pause stops deliveries to the instance until then; a zero time until it is resumed. Its cursor stands still.
func Pause(ctx context.Context, q Querier, domain string, until time.Time) error {
	var given *time.Time
	if !until.IsZero() {
		given = &until
	}
	_, err := q.Exec(ctx, `select fedsender.pause($1::text, coalesce($2::timestamptz, 'infinity'))`, domain, given)
	return wrap("pause "+domain, err)
}

// Resume ends a pause.
func Resume(ctx context.Context, q Querier, domain string) error {
	_, err := q.Exec(ctx, `select fedsender.resume($1::text)`, domain)
	return wrap("resume "+domain, err)
}

// RetryNow makes the instance's holder try it at once, whatever its back-off or a 429 said.
func RetryNow(ctx context.Context, q Querier, domain string) error {
	_, err := q.Exec(ctx, `select fedsender.retry_now($1::text)`, domain)
	return wrap("retry "+domain, err)
}

// SkipToLatest gives up all that waits for the instance and returns by how many ids its cursor moved.
func SkipToLatest(ctx context.Context, q Querier, domain string) (int64, error) {
	var moved int64
	err := q.QueryRow(ctx, `select fedsender.skip_to_latest($1::text)`, domain).Scan(&moved)
	return moved, wrap("skip "+domain, err)
}

// Replay sends again what was published since then and returns by how many ids the instance's cursor went back.
func Replay(ctx context.Context, q Querier, domain string, since time.Time) (int64, error) {
	var moved int64
	err := q.QueryRow(ctx, `select fedsender.replay($1::text, $2::timestamptz)`, domain, since).Scan(&moved)
	return moved, wrap("replay "+domain, err)
}

// Enqueuing is an activity for [Enqueue].
type Enqueuing struct {
	APID         string
	Document     json.RawMessage
	ActorAPID    string
	Inboxes      []string
	FollowersOf  []int64 // actor ids
	AllInstances bool
}

// ErrEnqueued says that there is an activity with that ap_id.
var ErrEnqueued = errors.New("there is an activity with this id already")

// activityAPID is the constraint that no two activities have one ap_id. What a trigger of the application violates has another name.
const activityAPID = "activity_ap_id_key"

// Enqueue inserts an activity and returns its id. Its error is ErrEnqueued, or the server's, such as that of an actor that is
// not there; [Sentence] makes it readable.
func Enqueue(ctx context.Context, q Querier, e Enqueuing) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, `
		select fedsender.enqueue($1::text, $2::json, $3::text, $4::text[], $5::bigint[], $6::boolean)`,
		e.APID, string(e.Document), e.ActorAPID, orEmpty(e.Inboxes), orEmpty(e.FollowersOf), e.AllInstances).Scan(&id)
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == uniqueViolation && server.ConstraintName == activityAPID {
		err = ErrEnqueued
	}
	return id, wrap("enqueue "+e.APID, err)
}

// WithoutFollowers returns those of the actors that nobody follows, in their order. A role that may not see followers
// learns nothing, and gets no error.
func WithoutFollowers(ctx context.Context, q Querier, actors []int64) ([]int64, error) {
	rows, err := q.Query(ctx, `
		select distinct a
		from unnest($1::bigint[]) a
		where not exists (select from fedsender.source_follower f where f.actor_id = a)
		order by a`, orEmpty(actors))
	none, err := collect("look for followers", rows, err, pgx.RowTo[int64])
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == insufficientPrivilege {
		return nil, nil
	}
	return none, err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// orEmpty keeps a nil list from being a null, which is equal to nothing.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
