package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// steady sends an activity to every instance at each beat until it is stopped, so that a pause of any of them shows.
type steady struct {
	r     *rig
	every time.Duration
	group conc.WaitGroup
	stop  context.CancelFunc

	mu        sync.Mutex
	committed map[string]time.Time // by activity
}

// late is how long after its commit an activity arrived.
func (s *steady) late(d fediverse.Delivery) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.Arrived.Sub(s.committed[d.Activity])
}

// everyone is one actor whose followers are on all instances.
func everyone(instances int) spread { return spread{actors: 1, instances: instances, hot: instances} }

func (r *rig) steady(ctx context.Context, every time.Duration) *steady {
	ctx, stop := context.WithCancel(ctx)
	s := &steady{r: r, every: every, stop: stop, committed: map[string]time.Time{}}
	s.group.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for n := 0; ; n++ {
			id := fmt.Sprintf("https://%s/steady/%d", fleet.Home, n)
			_, err := r.writing.Exec(context.WithoutCancel(ctx), `
				insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
				values ($1, json_build_object('id', $1::text, 'type', 'Announce'), $2, array[$2::bigint])`,
				id, r.world.Actors[0])
			if err != nil {
				r.t.Error(err)
				return
			}
			s.mu.Lock()
			s.committed[id] = time.Now()
			s.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return s
}

// end stops the writer.
func (s *steady) end() {
	s.stop()
	s.group.Wait()
}

// pauses are how late activities arrived: the first that an instance got of another process than the one before, which
// waited for the hand-over, and the usual ones.
type pauses struct{ usual, moved []time.Duration }

func (s *steady) pausesSince(since time.Time) (p pauses) {
	for _, domain := range s.r.world.Instances {
		process := ""
		for _, d := range s.r.Fedi.Ledger().Deliveries(domain) {
			if !d.Accepted() {
				continue
			}
			switch {
			case process == "" || d.Arrived.Before(since):
			case process == d.Process:
				p.usual = append(p.usual, s.late(d))
			default:
				p.moved = append(p.moved, s.late(d))
			}
			process = d.Process
		}
	}
	return p
}

func (p pauses) String() string {
	usual, moved := sortedCopy(p.usual), sortedCopy(p.moved)
	if len(usual) == 0 || len(moved) == 0 {
		return fmt.Sprintf("%d usual deliveries, %d after which an instance had changed hands", len(usual), len(moved))
	}
	at := func(list []time.Duration, share float64) time.Duration {
		return list[int(share*float64(len(list)-1))].Round(time.Millisecond)
	}
	within := 0
	for _, late := range moved {
		if late < 100*time.Millisecond {
			within++
		}
	}
	return fmt.Sprintf("arrived after the commit p50 %s, p99 %s, max %s of %d; the first after an instance changed hands p50 %s, p99 %s, max %s, under 100 ms %d of %d",
		at(usual, 0.5), at(usual, 0.99), at(usual, 1), len(usual), at(moved, 0.5), at(moved, 0.99), at(moved, 1), within, len(moved))
}

// during has everybody delivered to while something changes the fleet to n processes, and reports the pauses.
func (s *steady) during(ctx context.Context, what string, n int, change func()) {
	r := s.r
	r.t.Helper()
	rounds := 8 * len(r.world.Instances)
	r.progress(ctx, rounds)
	since := time.Now()
	change()
	if err := r.WaitHeld(ctx, n); err != nil {
		r.t.Fatal(err)
	}
	r.progress(ctx, rounds)
	r.t.Logf("%s: %s", what, s.pausesSince(since))
}

// undoubled ends the test: nothing may be lost, delivered twice or by two at one time.
func (r *rig) undoubled(ctx context.Context) {
	r.t.Helper()
	verdict := r.finish(ctx)
	if verdict.Twice > 0 {
		r.t.Errorf("%d duplicates though nothing was killed: %v", verdict.Twice, verdict.Examples)
	}
	r.checkOverlaps()
}

func TestHandover_ReceiversSeeNoPauseAndNoDuplicate(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), bells.database(t), slowly(), everyone(pick(30, 40)))
	r.startHolding(ctx, 3, 3)
	random := choices(t.Name())
	s := r.steady(ctx, pick(200*time.Millisecond, 60*time.Millisecond))
	defer s.end()
	for range pick(1, 10) {
		s.during(ctx, "one joins three", 4, func() { r.start(ctx, 1) })
		s.during(ctx, "one of four leaves", 3, func() { r.stopInTime(ctx, r.someSender(random)) })
	}
	for range pick(0, 5) {
		s.during(ctx, "two of three leave", 1, func() { r.stopTogether(ctx, r.Senders()[:2]) })
		s.during(ctx, "four join one", 5, func() { r.start(ctx, 4) })
		s.during(ctx, "three of five leave", 2, func() { r.stopTogether(ctx, r.Senders()[:3]) })
		s.during(ctx, "one joins two", 3, func() { r.start(ctx, 1) })
	}
	s.end()
	t.Logf("all together: %s", s.pausesSince(time.Time{}))
	r.undoubled(ctx)
}

func (r *rig) stopTogether(ctx context.Context, senders []*fleet.Sender) {
	r.t.Helper()
	var stops conc.WaitGroup
	for _, s := range senders {
		stops.Go(func() {
			if err := s.Stop(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
	stops.Wait()
}

// One after the other is replaced: the next one stops when its predecessor's successor is ready.
func TestRollingRestart_ReceiversSeeNoPauseAndNoDuplicate(t *testing.T) {
	parallel(t)
	ctx := within(t)
	processes := pick(3, 10)
	r := newRig(t, binary(t, ""), bells.database(t), slowly(), everyone(pick(30, 40)))
	r.startHolding(ctx, processes, processes)
	s := r.steady(ctx, pick(200*time.Millisecond, 80*time.Millisecond))
	defer s.end()
	for range pick(1, 3) {
		old := slices.Clone(r.Senders())
		r.progress(ctx, 8*len(r.world.Instances))
		since := time.Now()
		for _, one := range old {
			r.stopInTime(ctx, one)
			r.start(ctx, 1)
		}
		if err := r.WaitHeld(ctx, 0); err != nil {
			t.Fatal(err)
		}
		took := time.Since(since)
		r.progress(ctx, 8*len(r.world.Instances))
		t.Logf("%d processes restarted in %s: %s", processes, took.Round(time.Millisecond), s.pausesSince(since))
	}
	s.end()
	r.undoubled(ctx)
}
