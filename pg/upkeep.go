package pg

import (
	"context"
	"fmt"
	"time"
)

// Process is what a process says of itself, for people. Whether it lives is told by its session.
type Process struct {
	ID, Name, Address, Version string
	InFlight                   int
	DeliveredPerSecond         float64
}

// WriteProcess adds or updates the row.
func WriteProcess(ctx context.Context, q Querier, p Process) error {
	_, err := q.Exec(ctx, `
		insert into fedsender.process (id, name, address, version, in_flight, delivered_per_s)
		values ($1, $2, $3, $4, $5, $6)
		on conflict (id) do update
		set seen_at = now(), in_flight = excluded.in_flight, delivered_per_s = excluded.delivered_per_s`,
		p.ID, p.Name, p.Address, p.Version, p.InFlight, p.DeliveredPerSecond)
	if err != nil {
		return fmt.Errorf("write what this process does: %w", err)
	}
	return nil
}

// DeleteProcess removes the row of a process that ends.
func DeleteProcess(ctx context.Context, q Querier, id string) error {
	if _, err := q.Exec(ctx, `delete from fedsender.process where id = $1`, id); err != nil {
		return fmt.Errorf("remove this process from the list: %w", err)
	}
	return nil
}

// Gauges returns how many dead letters there are and which part of the server's notification queue is in use, 0 to 1.
func Gauges(ctx context.Context, q Querier) (deadLetters, queueUsage float64, err error) {
	err = q.QueryRow(ctx, `
		select (select count(*) from fedsender.dead_letter)::float8, pg_notification_queue_usage()`).Scan(&deadLetters, &queueUsage)
	if err != nil {
		return 0, 0, fmt.Errorf("read the figures of the database: %w", err)
	}
	return deadLetters, queueUsage, nil
}

// Prune deletes what nobody needs any more, and settled activities older than retention (0: none). Of several
// processes only one does it at a time. It returns the lowest cursor of the instances that are alive, up to which no
// unfollow matters any more, and how many activities were deleted; more may be left.
func Prune(ctx context.Context, q Querier, retention time.Duration) (lowest, deleted int64, err error) {
	err = q.QueryRow(long(ctx), `select lowest, deleted from fedsender.prune(make_interval(secs => $1))`,
		retention.Seconds()).Scan(&lowest, &deleted)
	if err != nil {
		return 0, 0, fmt.Errorf("delete what is not needed any more: %w", err)
	}
	return lowest, deleted, nil
}
