package pg

import (
	"context"
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

// ReadBalance reads what the processes share the instances by.
func ReadBalance(ctx context.Context, q Querier) (b Balance, err error) {
	err = q.QueryRow(ctx, `select version, weights, made_by from fedsender.balance`).Scan(&b.Version, &b.Weights, &b.MadeBy)
	return b, wrap("read what instances weigh", err)
}

// WriteBalance writes the version after the one before it. It returns false where another process has done so.
func WriteBalance(ctx context.Context, q Querier, b Balance) (written bool, err error) {
	done, err := q.Exec(ctx, `
		update fedsender.balance
		set version = $1::bigint, weights = $2::json, made_at = now(), made_by = $3
		where version = $1::bigint - 1`, b.Version, string(b.Weights), b.MadeBy)
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
