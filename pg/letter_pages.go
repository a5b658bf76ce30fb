package pg

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// IsCanceled tells that the server ended a statement because its time was over.
func IsCanceled(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == queryCanceled
}

// DeadLetterPage returns up to limit dead letters with ids below before (0: the newest), the newest first; of one domain
// unless that is empty.
func DeadLetterPage(ctx context.Context, q Querier, domain string, before int64, limit int) ([]DeadLetter, error) {
	rows, err := q.Query(ctx, `
		select d.id
		from fedsender.dead_letter d
		where ($1::text = '' or d.instance_id = (select i.id from fedsender.source_instance i where i.domain = lower($1::text)))
			and ($2::bigint = 0 or d.id < $2::bigint)
		order by d.id desc
		limit $3`, domain, before, limit)
	ids, err := collect("list dead letters", rows, err, pgx.RowTo[int64])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	letters, err := DeadLetters(ctx, q, DeadLetterFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]DeadLetter, len(letters))
	for _, l := range letters {
		byID[l.ID] = l
	}
	ordered := letters[:0]
	for _, id := range ids {
		if l, there := byID[id]; there {
			ordered = append(ordered, l)
		}
	}
	return ordered, nil
}

// CountDeadLetters counts them, those of one domain unless that is empty.
func CountDeadLetters(ctx context.Context, q Querier, domain string) (n int64, err error) {
	err = q.QueryRow(ctx, `
		select count(*)
		from fedsender.dead_letter d
		where $1::text = '' or d.instance_id = (select i.id from fedsender.source_instance i where i.domain = lower($1::text))`, domain).Scan(&n)
	return n, wrap("count dead letters", err)
}
