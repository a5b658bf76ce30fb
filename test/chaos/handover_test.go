package chaos

import (
	"context"
	"fmt"
	"slices"
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
}

// everyone is one actor whose followers are on all instances.
func everyone(instances int) spread { return spread{actors: 1, instances: instances, hot: instances} }

func (r *rig) steady(ctx context.Context, every time.Duration) *steady {
	ctx, stop := context.WithCancel(ctx)
	s := &steady{r: r, every: every, stop: stop}
	s.group.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for n := 0; ; n++ {
			_, err := r.writing.Exec(context.WithoutCancel(ctx), `
				insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
				values ($1, json_build_object('id', $1::text, 'type', 'Announce'), $2, array[$2::bigint])`,
				fmt.Sprintf("https://%s/steady/%d", fleet.Home, n), r.world.Actors[0])
			if err != nil {
				r.t.Error(err)
				return
			}
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

// pauses are the gaps between two deliveries to one instance.
type pauses struct{ usual, moved []time.Duration }

// pausesSince tells the gaps in which an instance changed hands from the usual ones.
func (r *rig) pausesSince(since time.Time) (p pauses) {
	for _, domain := range r.world.Instances {
		var last fediverse.Delivery
		for _, d := range r.Fedi.Ledger().Deliveries(domain) {
			if !d.Accepted() {
				continue
			}
			switch {
			case last.Process == "" || d.Arrived.Before(since):
			case last.Process == d.Process:
				p.usual = append(p.usual, d.Arrived.Sub(last.Arrived))
			default:
				p.moved = append(p.moved, d.Arrived.Sub(last.Arrived))
			}
			last = d
		}
	}
	return p
}

func (p pauses) String() string {
	at := func(list []time.Duration, share float64) time.Duration {
		return list[int(share*float64(len(list)-1))].Round(time.Millisecond)
	}
	usual, moved := sortedCopy(p.usual), sortedCopy(p.moved)
	if len(usual) == 0 || len(moved) == 0 {
		return fmt.Sprintf("%d usual gaps, %d where an instance changed hands", len(usual), len(moved))
	}
	return fmt.Sprintf("usual gap p50 %s, p99 %s, max %s of %d; where an instance changed hands p50 %s, p99 %s, max %s of %d",
		at(usual, 0.5), at(usual, 0.99), at(usual, 1), len(usual), at(moved, 0.5), at(moved, 0.99), at(moved, 1), len(moved))
}

// during has everybody delivered to while something changes the fleet to n processes, and reports the pauses.
func (r *rig) during(ctx context.Context, what string, n int, change func()) {
	r.t.Helper()
	rounds := 8 * len(r.world.Instances)
	r.progress(ctx, rounds)
	since := time.Now()
	change()
	if err := r.WaitHeld(ctx, n); err != nil {
		r.t.Fatal(err)
	}
	r.progress(ctx, rounds)
	r.t.Logf("%s: %s", what, r.pausesSince(since))
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
		r.during(ctx, "one joins three", 4, func() { r.start(ctx, 1) })
		r.during(ctx, "one of four leaves", 3, func() { r.stopInTime(ctx, r.someSender(random)) })
	}
	for range pick(0, 5) {
		r.during(ctx, "two of three leave", 1, func() { r.stopTogether(ctx, r.Senders()[:2]) })
		r.during(ctx, "four join one", 5, func() { r.start(ctx, 4) })
		r.during(ctx, "three of five leave", 2, func() { r.stopTogether(ctx, r.Senders()[:3]) })
		r.during(ctx, "one joins two", 3, func() { r.start(ctx, 1) })
	}
	s.end()
	t.Logf("all together: %s", r.pausesSince(time.Time{}))
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
		t.Logf("%d processes restarted in %s: %s", processes, took.Round(time.Millisecond), r.pausesSince(since))
	}
	s.end()
	r.undoubled(ctx)
}
