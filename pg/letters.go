package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DeadLetter is a row of fedsender.dead_letter with the names of what its ids stand for.
type DeadLetter struct {
	ID         int64     `json:"id"`
	ActivityID int64     `json:"activity_id"`
	APID       string    `json:"ap_id,omitempty"`  // empty: the activity is gone
	Domain     string    `json:"domain,omitempty"` // empty: the activity could not be prepared for several instances, to which alone `retry` sends it, or the inbox names no server
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

// DeadLetterIDs returns the ids of those that the filter chooses beyond the id after, in their order.
func DeadLetterIDs(ctx context.Context, q Querier, f DeadLetterFilter, after int64) ([]int64, error) {
	rows, err := q.Query(ctx, `
		select d.id
		from fedsender.dead_letter d
		left join fedsender.source_instance i on i.id = d.instance_id
		where (cardinality($1::bigint[]) = 0 or d.id = any ($1::bigint[]))
			and ($2::text = '' or i.domain = lower($2::text))
			and ($3::bigint = 0 or d.activity_id = $3::bigint)
			and d.id > $4::bigint
		order by d.id
		limit nullif($5::bigint, 0)`, orEmpty(f.IDs), f.Domain, f.ActivityID, after, f.Limit)
	return collect("list dead letters", rows, err, pgx.RowTo[int64])
}

// LetterAction is what an operator does with a dead letter.
type LetterAction string

const (
	// RetryLetter tries it again, outside the order of the cursor. One that names no server can't be tried.
	RetryLetter LetterAction = "retry"
	// DropLetter gives it up for good.
	DropLetter LetterAction = "drop"
)

// ActOnDeadLetters acts on each, in one round trip and one transaction where the server refuses none of them, else one by one.
// refused are the server's answers to the others. err is of a connection that was lost, or of an ended ctx; done is true then, too.
func ActOnDeadLetters(ctx context.Context, q interface {
	Querier
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}, action LetterAction, ids []int64) (done []int64, refused []error, err error) {
	call := fmt.Sprintf(`select fedsender.%s_dead_letter($1::bigint)`, string(action))
	batch := &pgx.Batch{}
	for _, id := range ids {
		batch.Queue(call, id)
	}
	var server *pgconn.PgError
	err = q.SendBatch(ctx, batch).Close()
	if err == nil {
		return ids, nil, nil
	}
	if !errors.As(err, &server) {
		return nil, nil, wrap(fmt.Sprintf("%s dead letters", string(action)), err)
	}
	for _, id := range ids {
		_, err := q.Exec(ctx, call, id)
		switch {
		case err == nil:
			done = append(done, id)
		case errors.As(err, &server):
			refused = append(refused, wrap(fmt.Sprintf("%s dead letter %d", string(action), id), err))
		default:
			return done, refused, wrap(fmt.Sprintf("%s dead letter %d", string(action), id), err)
		}
	}
	return done, refused, nil
}
