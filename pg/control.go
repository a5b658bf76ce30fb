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

// Enqueue inserts an activity and returns its id. The error of an ap_id that is there already, or of an actor that is
// not, is the server's; [Sentence] makes it readable.
func Enqueue(ctx context.Context, q Querier, e Enqueuing) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, `
		select fedsender.enqueue($1::text, $2::json, $3::text, $4::text[], $5::bigint[], $6::boolean)`,
		e.APID, string(e.Document), e.ActorAPID, orEmpty(e.Inboxes), orEmpty(e.FollowersOf), e.AllInstances).Scan(&id)
	return id, wrap("enqueue "+e.APID, err)
}

// DeadLetter is a row of fedsender.dead_letter with the names of what its ids stand for.
type DeadLetter struct {
	ID         int64     `json:"id"`
	ActivityID int64     `json:"activity_id"`
	APID       string    `json:"ap_id,omitempty"`  // empty: the activity is gone
	Domain     string    `json:"domain,omitempty"` // empty: it could not be prepared for anybody
	Inbox      string    `json:"inbox,omitempty"`  // empty: all of the activity's inboxes there
	Reason     string    `json:"reason"`
	HTTPStatus int       `json:"http_status,omitempty"`
	Attempts   int       `json:"attempts"`
	FirstAt    time.Time `json:"first_at"`
	LastAt     time.Time `json:"last_at"`
}

// DeadLetterFilter chooses dead letters; each field that is not zero must fit.
type DeadLetterFilter struct {
	IDs        []int64
	Domain     string
	ActivityID int64
	Limit      int // 0: all
}

// DeadLetters returns those that the filter chooses, the newest first.
func DeadLetters(ctx context.Context, q Querier, f DeadLetterFilter) ([]DeadLetter, error) {
	rows, err := q.Query(ctx, `
		select d.id, d.activity_id, coalesce(a.ap_id, ''), coalesce(i.domain, ''), coalesce(d.inbox, ''), d.reason,
			coalesce(d.http_status, 0), d.attempts, d.first_at, d.last_at
		from fedsender.dead_letter d
		left join fedsender.source_activity a on a.id = d.activity_id
		left join fedsender.source_instance i on i.id = d.instance_id
		where (cardinality($1::bigint[]) = 0 or d.id = any ($1::bigint[]))
			and ($2::text = '' or i.domain = lower($2::text))
			and ($3::bigint = 0 or d.activity_id = $3::bigint)
		order by d.last_at desc, d.id desc
		limit nullif($4::bigint, 0)`, orEmpty(f.IDs), f.Domain, f.ActivityID, f.Limit)
	return collect("list dead letters", rows, err, func(row pgx.CollectableRow) (d DeadLetter, err error) {
		err = row.Scan(&d.ID, &d.ActivityID, &d.APID, &d.Domain, &d.Inbox, &d.Reason, &d.HTTPStatus, &d.Attempts, &d.FirstAt, &d.LastAt)
		return d, err
	})
}

// RetryDeadLetter tries one again, outside the order of the cursor. One that names no server can't be tried.
func RetryDeadLetter(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `select fedsender.retry_dead_letter($1::bigint)`, id)
	return wrap(fmt.Sprintf("retry dead letter %d", id), err)
}

// DropDeadLetter gives one up for good.
func DropDeadLetter(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `select fedsender.drop_dead_letter($1::bigint)`, id)
	return wrap(fmt.Sprintf("drop dead letter %d", id), err)
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
