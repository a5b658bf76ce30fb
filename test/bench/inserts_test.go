package bench

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// inserts counts how many activities for nobody 16 writers commit a second, each in a transaction of its own.
func (b *bench) inserts(span time.Duration) float64 {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, span)
	defer cancel()
	var count atomic.Int64
	writers := pool.New().WithErrors()
	began := time.Now()
	for range 16 {
		writers.Go(func() error {
			conn, err := pgx.Connect(b.ctx, b.Database)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(b.ctx) }()
			for ctx.Err() == nil {
				statement, args := b.world.insertion(rand.Text())
				if _, err := conn.Exec(b.ctx, statement, args...); err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil {
		b.tb.Fatal(err)
	}
	return float64(count.Load()) / time.Since(began).Seconds()
}

// settled waits until the senders have nothing to do: what was written before them is passed by every cursor.
func (b *bench) settled() {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	if err := b.WaitSettled(ctx); err != nil {
		b.tb.Fatal(err)
	}
}

// sessions is the processor time of the senders' sessions so far.
func (b *bench) sessions() (sum time.Duration) {
	b.tb.Helper()
	rows, err := b.DB.Query(b.ctx, `select pid from pg_stat_activity where application_name like 'fedsender%'`)
	if err != nil {
		b.tb.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, pid := range pids {
		used, err := fleet.ProcessCPU(pid)
		if err != nil {
			b.tb.Fatal(err)
		}
		sum += used
	}
	return sum
}

// price measures what the application's inserts a second are without a trigger, with it alone, and with senders; with these also
// what a row costs each process, of its own processor time and of its sessions'. The three take turns, because a machine is not
// equally fast at all times. Each round begins with another one: the table grows, and with it what an insert costs. The
// senders start anew for each turn.
func (b *bench) price(rounds, senders int, span time.Duration) *results.Scenario {
	b.tb.Helper()
	exec := func(sql string) {
		if _, err := b.DB.Exec(b.ctx, sql); err != nil {
			b.tb.Fatal(err)
		}
	}
	disarm := func() {
		if err := pg.Disarm(b.ctx, b.DB); err != nil {
			b.tb.Fatal(err)
		}
	}
	rate := func() map[string]float64 { return map[string]float64{results.Rate: b.inserts(span)} }
	table, trigger := b.world.ringer()
	exec("alter table " + table + " set (autovacuum_enabled = off)") // which would work in some turns only
	measured := &results.Scenario{Name: "inserts"}
	b.rotate(measured, rounds, []contender{
		{name: "bare", run: func() map[string]float64 {
			disarm()
			exec("alter table " + table + " disable trigger " + trigger)
			defer exec("alter table " + table + " enable trigger " + trigger)
			return rate()
		}},
		{name: "trigger", run: func() map[string]float64 {
			disarm()
			return rate()
		}},
		{name: "senders", run: func() map[string]float64 {
			running := b.start(senders)
			b.settled()
			own, server := b.cpu(running), b.sessions()
			figures := rate()
			reads := max(1, figures[results.Rate]*span.Seconds()) * float64(senders)
			figures[results.SenderCPU] = microseconds(b.cpu(running)-own) / reads
			figures[results.PostgresCPU] = microseconds(b.sessions()-server) / reads
			for _, s := range running {
				if err := s.Stop(b.ctx); err != nil {
					b.tb.Fatal(err)
				}
			}
			return figures
		}},
	})
	return measured
}

func BenchmarkInserts(b *testing.B) {
	seeding := fleet.Seeding{Actors: 1, Instances: 30_000, Followers: func(int, int) bool { return false }}
	onEach(b, seeding, func(b *testing.B, w world) {
		measured := newBenchOn(b, w, map[string]string{
			"max_locks_per_transaction": "1024", "max_connections": "100",
			"checkpoint_timeout": "1h", // as autovacuum
		}).price(runs(), 4, 8*time.Second)
		b.ReportMetric(0, "ns/op")
		bare, senders := measured.Cell("bare"), measured.Cell("senders")
		report := func(unit string) func(float64, bool) {
			return func(value float64, _ bool) { b.ReportMetric(value, unit) } // all were measured
		}
		report("bare-inserts/s")(bare.Median(results.Rate))
		report("trigger-ratio")(measured.Cell("trigger").Ratio(bare, results.Rate))
		report("senders-ratio")(senders.Ratio(bare, results.Rate))
		report("own-us/row")(senders.Median(results.SenderCPU))
		report("server-us/row")(senders.Median(results.PostgresCPU))
	})
}

func TestInserts_CanBeMeasured(t *testing.T) {
	t.Parallel()
	onEachSmall(t, func(t *testing.T, w world) {
		for _, cell := range newBench(t, w).price(1, 2, 200*time.Millisecond).Cells {
			if rate, ok := cell.Median(results.Rate); !ok || rate <= 0 {
				t.Errorf("%s: %v inserts a second", cell.Name, rate)
			}
		}
	})
}
