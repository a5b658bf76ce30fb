package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Balance is the row of fedsender.balance.
type Balance struct {
	Version int64
	Weights []byte // JSON
	MadeBy  string // id of a process
}

// restoreBalance makes a row that is missing. Its version is one that no process plans with, so that all read it.
const restoreBalance = `
	insert into fedsender.balance (version)
	select coalesce(max(substring(application_name from '^fedsender:[^:]+:\d+:(\d{1,15})')::bigint) + 1, 0)
	from pg_stat_activity
	where datname = current_database()
	on conflict (one) do nothing`

// ReadBalance reads what the processes share the instances by. It makes the row where somebody has deleted it.
func ReadBalance(ctx context.Context, q Querier) (b Balance, err error) {
	read := func() error {
		return q.QueryRow(ctx, `select version, weights, made_by from fedsender.balance`).Scan(&b.Version, &b.Weights, &b.MadeBy)
	}
	if err = read(); errors.Is(err, pgx.ErrNoRows) {
		if _, err = q.Exec(ctx, restoreBalance); err == nil {
			err = read()
		}
	}
	return b, wrap("read what instances weigh", err)
}

// WriteBalance writes the version after the one before it, or the row where it is missing. It returns false where another
// process has done so.
func WriteBalance(ctx context.Context, q Querier, b Balance) (written bool, err error) {
	done, err := q.Exec(ctx, `
		insert into fedsender.balance as b (version, weights, made_by)
		values ($1::bigint, $2::json, $3::text)
		on conflict (one) do update
		set version = excluded.version, weights = excluded.weights, made_at = now(), made_by = excluded.made_by
		where b.version = excluded.version - 1`, b.Version, string(b.Weights), b.MadeBy)
	return done.RowsAffected() == 1, wrap("write what instances weigh", err)
}

// ProcessLoad is what a process said of its load.
type ProcessLoad struct {
	ID string
	// Age is how long ago that was; Now the time of the server.
	Age        time.Duration
	Now        time.Time
	Leases     int
	Load       float64 // deliveries a second, one that is under way all the time counted as one
	Speed      float64 // signatures a second; 0: unknown
	HeavyIDs   []int32
	HeavyLoads []float32 // of HeavyIDs
}

// ProcessLoads returns what the processes with these ids said.
func ProcessLoads(ctx context.Context, q Querier, ids []string) ([]ProcessLoad, error) {
	rows, err := q.Query(ctx, `
		select id, extract(epoch from now() - seen_at)::float8, now(), leases, load, speed, heavy_ids, heavy_loads
		from fedsender.process
		where id = any ($1::text[])`, ids)
	return collect("read the loads of the processes", rows, err, func(row pgx.CollectableRow) (p ProcessLoad, err error) {
		var age float64
		err = row.Scan(&p.ID, &age, &p.Now, &p.Leases, &p.Load, &p.Speed, &p.HeavyIDs, &p.HeavyLoads)
		if err == nil && len(p.HeavyIDs) != len(p.HeavyLoads) {
			err = fmt.Errorf("process %s has %d heavy instances and %d loads of them", p.ID, len(p.HeavyIDs), len(p.HeavyLoads))
		}
		p.Age = time.Duration(age * float64(time.Second))
		return p, err
	})
}
