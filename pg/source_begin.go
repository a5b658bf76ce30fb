package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

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
