package pg

import (
	"context"
	"fmt"
	"time"
)

// Process is what a process says of itself, for people and for those that share the instances with it. Whether it lives
// is told by its session.
type Process struct {
	ID, Name, Address, Version string
	InFlight                   int
	DeliveredPerSecond         float64
	// The rest is as in [ProcessLoad].
	Leases      int
	Load, Speed float64
	HeavyIDs    []int32
	HeavyLoads  []float32
	// What it is asked for by instances that take deliveries: those that wait, for how many instances, since when, and how
	// many came in a second; and which part of what it may use it used, 0 to 1.
	Waiting           int64
	WaitingInstances  int
	LagSeconds        float64
	ArrivingPerSecond float64
	Busy              float64
}

// WriteProcess adds or updates the row.
func WriteProcess(ctx context.Context, q Querier, p Process) error {
	_, err := q.Exec(ctx, `
		insert into fedsender.process (id, name, address, version, in_flight, delivered_per_s, leases, load, speed, heavy_ids, heavy_loads,
		  waiting, waiting_instances, lag_seconds, arriving_per_s, busy)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::int[], '{}'), coalesce($11::real[], '{}'), $12, $13, $14, $15, $16)
		on conflict (id) do update
		set seen_at = now(), in_flight = excluded.in_flight, delivered_per_s = excluded.delivered_per_s, leases = excluded.leases,
		  load = excluded.load, speed = excluded.speed, heavy_ids = excluded.heavy_ids, heavy_loads = excluded.heavy_loads,
		  waiting = excluded.waiting, waiting_instances = excluded.waiting_instances, lag_seconds = excluded.lag_seconds,
		  arriving_per_s = excluded.arriving_per_s, busy = excluded.busy`,
		p.ID, p.Name, p.Address, p.Version, p.InFlight, p.DeliveredPerSecond, p.Leases, p.Load, p.Speed, p.HeavyIDs, p.HeavyLoads,
		p.Waiting, p.WaitingInstances, p.LagSeconds, p.ArrivingPerSecond, p.Busy)
	if err != nil {
		return fmt.Errorf("write what this process does: %w", err)
	}
	return nil
}

// NoteDemand keeps what the view autoscale says at this moment, which it goes by for ten minutes.
func NoteDemand(ctx context.Context, q Querier) error {
	if _, err := q.Exec(ctx, `select fedsender.note_demand(now())`); err != nil {
		return fmt.Errorf("note how many processes are needed: %w", err)
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
