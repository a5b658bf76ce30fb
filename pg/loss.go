package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Seen is an activity that was read.
type Seen struct {
	ID          int64
	PublishedAt time.Time // as [Activity] has it
}

// CountMissing returns how many of them the database does not have.
func CountMissing(ctx context.Context, q Querier, seen []Seen) (missing int, err error) {
	if len(seen) == 0 {
		return 0, nil
	}
	ids, times := make([]int64, len(seen)), make([]int64, len(seen))
	for i, s := range seen {
		ids[i], times[i] = s.ID, s.PublishedAt.UnixMicro()
	}
	err = q.QueryRow(ctx, `
		select count(*)
		from unnest($1::bigint[], $2::bigint[]) as s (id, published)
		where not exists (
			select
			from fedsender.source_activity a
			where a.id = s.id
				and (extract(epoch from `+near("a.published_at")+`) * 1000000)::bigint = s.published)`, ids, times).Scan(&missing)
	if err != nil {
		return 0, fmt.Errorf("look for activities that were read before: %w", err)
	}
	return missing, nil
}

// CursorsMovedSince returns those of the instances whose cursor an operator moved within the time, by the log of changes.
func CursorsMovedSince(ctx context.Context, q Querier, ids []int32, within time.Duration) ([]int32, error) {
	rows, err := q.Query(ctx, `
		select distinct instance_id
		from fedsender.change
		where kind = 'cursor'
			and instance_id = any ($1::int[])
			and at > now() - make_interval(secs => $2::float8)`, ids, within.Seconds())
	return collect("read who moved cursors", rows, err, pgx.RowTo[int32])
}
