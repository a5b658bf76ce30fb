package chaos

import (
	"context"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestPostgresIsRestarted(t *testing.T) {
	parallel(t)
	ctx := within(t)
	// Durable: what was committed must outlive a crash of the server, as it does in production.
	server, err := postgres.Start(ctx, postgres.Options{Durable: true, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	database, err := server.CreateDatabase(ctx, "restarted")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, binary(t, ""), database, slowly(), busy)
	r.startHolding(ctx, 4, 4)
	l := r.load(ctx, busyPerSecond)
	defer l.stop(t)
	for n := range pick(2, 12) {
		r.progress(ctx, backlog)
		_, recovered := r.suffer("")
		if err := server.Stop([]postgres.StopMode{postgres.Fast, postgres.Immediate}[n%2]); err != nil {
			t.Fatal(err)
		}
		wait(ctx, time.Duration(n/2)*time.Second)
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.DB.Reset()
		recovered()
		if err := r.WaitHeld(ctx, 4); err != nil {
			t.Fatal(err)
		}
		t.Logf("held again %s after the server was back", time.Since(began).Round(time.Millisecond))
	}
	r.progress(ctx, backlog)
	l.stop(t)
	r.finish(ctx)
	r.checkDuplicates()
	r.checkOverlaps()
}

func TestLeaseSessionIsTerminated(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), bells.database(t), slowly(), busy)
	r.startHolding(ctx, 4, 4)
	l := r.load(ctx, busyPerSecond)
	defer l.stop(t)
	var gaps []time.Duration
	for range pick(3, 30) {
		r.progress(ctx, 50)
		victim := r.someSender()
		lease := r.backend(ctx, victim)
		at, recovered := r.suffer(victim.Name)
		if _, err := r.DB.Exec(ctx, `select pg_terminate_backend($1, 60000)`, lease); err != nil {
			t.Fatal(err)
		}
		recovered()
		gaps = append(gaps, r.takeover(ctx, at, lease))
		if err := r.WaitHeld(ctx, 4); err != nil {
			t.Fatal(err)
		}
	}
	l.stop(t)
	t.Logf("every instance held again: %s", percentiles(gaps))
	r.finish(ctx)
	r.checkDuplicates()
	r.checkOverlaps()
}

// A process that stands still for longer than its leases are good must send nothing under them when it goes on, although
// its session has lived all the time. One that stands still for longer than half a minute loses the session.
func TestProcessStandsStill(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), bells.database(t), slowly(), busy)
	r.startHolding(ctx, 4, 4)
	l := r.load(ctx, busyPerSecond)
	defer l.stop(t)
	for _, still := range pick([]time.Duration{8 * time.Second}, []time.Duration{8 * time.Second, 4 * time.Second, 45 * time.Second, 8 * time.Second}) {
		r.progress(ctx, backlog)
		victim := r.someSender()
		lease := r.backend(ctx, victim)
		at, recovered := r.suffer(victim.Name)
		if err := victim.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		wait(ctx, still)
		before, err := r.holders(ctx)
		if err != nil {
			t.Fatal(err)
		}
		recovered()
		if err := victim.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		t.Logf("stood still for %s; then its session held %d instances", time.Since(at).Round(time.Second), before[lease])
		if err := r.waitHolding(ctx, victim, 4); err != nil {
			t.Fatal(err)
		}
	}
	r.progress(ctx, backlog)
	l.stop(t)
	r.finish(ctx)
	r.checkDuplicates()
	r.checkOverlaps()
}

// waitHolding waits until every instance is held and the sender is one of n that hold some.
func (r *rig) waitHolding(ctx context.Context, s *fleet.Sender, n int) error {
	return fleet.Until(ctx, s.Name+" holds instances again", func() (bool, error) {
		held, err := r.holders(ctx)
		if err != nil || len(held) != n {
			return false, err
		}
		total := 0
		for count := range maps.Values(held) {
			total += count
		}
		return total == len(r.world.Instances) && held[r.backend(ctx, s)] > 0, nil
	})
}
