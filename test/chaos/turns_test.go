package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// smallTable has room for few locks: 60 × 10, of which leases may use half.
var smallTable = map[string]string{"max_connections": "60", "max_locks_per_transaction": "10"}

const smallBudget = 60 * 10 / 2

// smallServer is a server with a small lock table, and a database on it.
func smallServer(t *testing.T, ctx context.Context) string {
	t.Helper()
	server, err := postgres.Start(ctx, postgres.Options{Settings: smallTable})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	database, err := server.CreateDatabase(ctx, "turns")
	if err != nil {
		t.Fatal(err)
	}
	return database
}

// sampleLocks notes the most leases that were held at a time, until stop is called.
func (r *rig) sampleLocks(ctx context.Context) (stop func() (most int)) {
	ctx, cancel := context.WithCancel(ctx)
	most := make(chan int, 1)
	go func() {
		highest := 0
		for ctx.Err() == nil {
			held, err := r.holders(ctx)
			total := 0
			for _, count := range held {
				total += count
			}
			if err == nil {
				highest = max(highest, total)
			}
			wait(ctx, 50*time.Millisecond)
		}
		most <- highest
	}()
	return func() int { cancel(); return <-most }
}

func TestMoreInstancesThanLocks(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), smallServer(t, ctx), slowly(), spread{actors: 300, instances: 900, hot: 0, most: 4})
	most := r.sampleLocks(ctx)
	r.start(ctx, 3)
	l := r.load(ctx, 20, 1)
	r.progress(ctx, 300)
	began := time.Now()
	r.start(ctx, 1)
	if err := r.Senders()[0].Stop(ctx); err != nil { // those left get more room
		t.Error(err)
	}
	r.progress(ctx, 900)
	l.stop(t)
	stopped := time.Now()
	r.finish(ctx)
	if n := most(); n > smallBudget || n < smallBudget/2 {
		t.Errorf("%d locks were held at a time, the budget is %d", n, smallBudget)
	} else {
		t.Logf("at most %d of %d locks were held at a time", n, smallBudget)
	}
	// Everybody may have work at the end: 900 instances on 300 locks.
	if waited := r.lastArrival().Sub(stopped); waited > 3*20*time.Second {
		t.Errorf("the last delivery came %s after the last activity", waited)
	} else {
		t.Logf("the last delivery came %s after the last activity; the load lasted %s", waited.Round(time.Second), stopped.Sub(began).Round(time.Second))
	}
	if n := len(r.Fedi.Ledger().Duplicates("")); n > 0 {
		t.Errorf("%d were sent twice", n)
	}
}

func (r *rig) lastArrival() (last time.Time) {
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if d.Arrived.After(last) {
			last = d.Arrived
		}
	}
	return last
}

// Others have filled the lock table: what is left of it is used, and nothing is left behind by what failed.
func TestLockTableIsFilledByOthers(t *testing.T) {
	parallel(t)
	ctx := within(t)
	database := smallServer(t, ctx)
	r := newRig(t, binary(t, ""), database, slowly(), spread{actors: 10, instances: 250, hot: 0, most: 4})
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The table grows into what the server has spare, so it is filled until it takes no more, and 150 are given back.
	taken := 0
	for err == nil {
		_, err = conn.Exec(ctx, `select pg_advisory_lock(1, $1::int)`, taken+1)
		if err == nil {
			taken++
		}
	}
	for n := range 150 {
		if _, err := conn.Exec(ctx, `select pg_advisory_unlock(1, $1::int)`, n+1); err != nil {
			t.Fatal(err)
		}
	}
	senders, err := r.Launch(ctx, 1)
	r.started = append(r.started, senders...)
	if err != nil {
		t.Fatal(err)
	}
	err = fleet.Until(ctx, "what is left is used", func() (bool, error) {
		held, err := r.holders(ctx)
		for _, count := range held {
			return err == nil && count >= 100, nil
		}
		return false, nil // there may be no room for the locks of the question either
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `select pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	if err := r.WaitHeld(ctx, 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("others held %d locks; all instances were held %s after they gave them up", taken-150, time.Since(freed).Round(100*time.Millisecond))
	var twice int
	err = r.DB.QueryRow(ctx, `
		select count(*) - count(distinct objid)
		from pg_locks
		where locktype = 'advisory' and classid = $1::int8::oid and objsubid = 2`, int64(pg.LeaseClass)).Scan(&twice)
	if err != nil || twice != 0 {
		t.Error(fmt.Errorf("%d locks are left behind: %w", twice, err))
	}
	r.finish(ctx)
}
