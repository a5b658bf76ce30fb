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

// price is what the application's inserts a second are in three worlds, and in the last what a row costs each process: of its own
// processor time and of its sessions'.
type price struct {
	bare, trigger, senders float64
	own, server            time.Duration
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

// price measures the three worlds in turn, several times, because a machine is not equally fast at all times. Each turn
// begins with another world: the table grows, and with it what an insert costs. The senders start anew for each turn.
func (b *bench) price(rounds, senders int, span time.Duration) price {
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
	table, trigger := b.world.ringer()
	var p price
	worlds := []func(){
		func() {
			disarm()
			exec("alter table " + table + " disable trigger " + trigger)
			p.bare += b.inserts(span) / float64(rounds)
			exec("alter table " + table + " enable trigger " + trigger)
		},
		func() {
			disarm()
			p.trigger += b.inserts(span) / float64(rounds)
		},
		func() {
			running := b.start(senders)
			b.settled()
			own, server := b.cpu(running), b.sessions()
			rate := b.inserts(span)
			p.senders += rate / float64(rounds)
			reads := time.Duration(max(1, rate*span.Seconds())) * time.Duration(senders*rounds)
			p.own += (b.cpu(running) - own) / reads
			p.server += (b.sessions() - server) / reads
			for _, s := range running {
				if err := s.Stop(b.ctx); err != nil {
					b.tb.Fatal(err)
				}
			}
		},
	}
	for round := range rounds {
		for i := range worlds {
			worlds[(round+i)%len(worlds)]()
		}
	}
	return p
}

func BenchmarkInserts(b *testing.B) {
	seeding := fleet.Seeding{Actors: 1, Instances: 30_000, Followers: func(int, int) bool { return false }}
	onEach(b, seeding, func(b *testing.B, w world) {
		p := newBench(b, w).price(3, 4, 8*time.Second)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(p.bare, "bare-inserts/s")
		b.ReportMetric(p.trigger/p.bare, "trigger-ratio")
		b.ReportMetric(p.senders/p.bare, "senders-ratio")
		b.ReportMetric(microseconds(p.own), "own-us/row")
		b.ReportMetric(microseconds(p.server), "server-us/row")
		b.Logf("%.0f inserts/s bare, %.0f with the trigger, %.0f with four senders", p.bare, p.trigger, p.senders)
	})
}

func TestInserts_CanBeMeasured(t *testing.T) {
	t.Parallel()
	onEachSmall(t, func(t *testing.T, w world) {
		p := newBench(t, w).price(1, 2, 200*time.Millisecond)
		if p.bare <= 0 || p.trigger <= 0 || p.senders <= 0 {
			t.Errorf("measured %+v", p)
		}
	})
}
