package lease_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
)

func TestKeeper_AloneTakesEverythingAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(12_000)
		a := v.start(t, "a")
		pass(300 * time.Millisecond)
		if n := v.held(a); n != 12_000 {
			t.Fatalf("holds %d of 12000", n)
		}
		if s := a.keeper.Status(); s.Held != 12_000 || s.Owned != 12_000 || !slices.Equal(s.Peers, []string{"a"}) {
			t.Fatalf("status says %+v", s)
		}
		v.set(func() { v.beats = 0 })
		pass(20 * time.Second)
		if v.beats > 11 {
			t.Errorf("%d heartbeats in 20 s without peers", v.beats)
		}
		v.finish(t)
	})
}

func TestKeeper_ProcessesThatStartTogetherDivideWithoutMoving(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(6000)
		for i := range 6 {
			v.start(t, fmt.Sprint("p", i))
		}
		pass(time.Second)
		v.fair(t)
		for _, s := range v.sessions {
			if s.moves > 0 {
				t.Errorf("%s gave up %d instances", s.id, s.moves)
			}
		}
		if v.tries > 3*6000 {
			t.Errorf("%d locks were tried for 6000 instances", v.tries)
		}
		v.finish(t)
	})
}

func TestKeeper_NewProcessGetsItsShareWhileHoldersDrain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(8000)
		for i := range 3 {
			p := v.start(t, fmt.Sprint("p", i))
			v.set(func() { p.drain = 3 * time.Second })
		}
		pass(2 * time.Second)
		d := v.start(t, "late")
		pass(9 * time.Second)
		v.fair(t)
		moved := 0
		for _, s := range v.sessions {
			moved += s.moves
		}
		if moved > 8000/4*13/10 || moved < v.held(d) {
			t.Errorf("%d instances moved for a fourth process, it holds %d", moved, v.held(d))
		}
		v.finish(t)
	})
}

func TestKeeper_SlowDrainsEndInTimeForTheNewProcess(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		a := v.start(t, "a")
		v.set(func() { a.drain = time.Hour })
		pass(time.Second)
		v.start(t, "b")
		pass(10 * time.Second)
		if !a.keeper.Valid() {
			t.Error("the drain stopped the heartbeat")
		}
		v.fair(t)
		v.finish(t)
	})
}

func TestKeeper_CrashIsTakenOverWithinASecond(t *testing.T) {
	for _, victim := range []int{0, 2, 7} {
		t.Run(fmt.Sprint("rank ", victim), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				v := newServer(3000)
				for i := range 8 {
					v.start(t, fmt.Sprint("p", i))
				}
				pass(30 * time.Second)
				s := v.sessions[victim]
				v.end(s)
				pass(800 * time.Millisecond)
				total := 0
				for _, o := range v.sessions {
					total += v.held(o)
				}
				if total != 3000 {
					t.Errorf("%d of 3000 are held 0.8 s after the crash", total)
				}
				if err := <-s.ended; !errors.Is(err, lease.ErrLost) {
					t.Errorf("the process that lost its session ended with %v", err)
				}
				v.finish(t)
			})
		})
	}
}

func TestKeeper_LoadDoesNotGrowWithTheFleetBeyondTheHeartbeat(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(4000)
		for i := range 40 {
			v.start(t, fmt.Sprintf("p%02d", i))
		}
		pass(60 * time.Second)
		v.set(func() { v.beats, v.tries = 0, 0 })
		pass(60 * time.Second)
		if most := 3*150 + 37*30; v.beats > most+60 {
			t.Errorf("%d heartbeats a minute, want at most %d", v.beats, most)
		}
		if v.tries > 4*4000 {
			t.Errorf("%d locks tried in a quiet minute", v.tries)
		}
		v.set(func() { v.beats, v.tries = 0, 0 })
		v.end(v.sessions[20])
		pass(2 * time.Second)
		if v.tries > 2000 {
			t.Errorf("%d locks tried for the 100 instances of one crashed process", v.tries)
		}
		if v.beats > 400 {
			t.Errorf("%d heartbeats within 2 s of a crash", v.beats)
		}
		v.finish(t)
	})
}

func TestKeeper_LeavingHandsOverWithoutAGap(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(2000)
		a := v.start(t, "a")
		b := v.start(t, "b")
		pass(5 * time.Second)
		v.set(func() { a.drain = 3 * time.Second })
		a.stop()
		pass(time.Second)
		if !a.keeper.Valid() || a.keeper.Context().Err() != nil {
			t.Error("what is in flight may not end")
		}
		pass(2500 * time.Millisecond)
		if n := v.held(b); n != 2000 {
			t.Errorf("the other process holds %d of 2000 half a second after the drain", n)
		}
		if err := <-a.ended; err != nil {
			t.Errorf("a graceful end says %v", err)
		}
		v.end(a)
		if a.keeper.Valid() || a.keeper.Context().Err() == nil {
			t.Error("the keeper that ended may still send")
		}
		v.finish(t)
	})
}

func TestKeeper_LeavingEndsAtTheShutdownTimeout(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		a := v.start(t, "a", func(c *lease.Config) { c.ShutdownTimeout = 20 * time.Second })
		pass(time.Second)
		v.set(func() { a.drain = time.Hour })
		began := time.Now()
		a.stop()
		if err := <-a.ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
		if n := v.held(a); n != 0 {
			t.Errorf("still holds %d", n)
		}
		v.end(a)
	})
}

func TestKeeper_LeftoversGoToWhoHasRoomAndStayThere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(3000)
		small := v.start(t, "small", func(c *lease.Config) { c.MaxLeases = 400 })
		b, c := v.start(t, "b"), v.start(t, "c")
		pass(30 * time.Second)
		if n := v.held(small); n != 400 {
			t.Errorf("the small one holds %d", n)
		}
		if n := v.held(small) + v.held(b) + v.held(c); n < 2900 {
			t.Errorf("%d of 3000 are held", n)
		}
		// The small one's turns go on; what it does not hold is with the others.
		pass(4 * time.Minute)
		if n := v.held(small) + v.held(b) + v.held(c); n < 2900 {
			t.Errorf("%d of 3000 are held later", n)
		}
		v.finish(t)
	})
}

// A process that lost its session opens another one, and may need longer than leftovers wait until it can take anything.
func TestKeeper_LeftoversOfAProcessThatWasSlowToBeginGoToItThen(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(300)
		a, b := v.start(t, "a"), v.start(t, "b")
		pass(time.Second)
		c, begin := v.open(t, "c")
		pass(20 * time.Second)
		if n := v.held(a) + v.held(b); n != 300 {
			t.Fatalf("%d of 300 are held without the one that does not begin", n)
		}
		begin()
		pass(3 * time.Second)
		if n := v.held(c); n < 90 {
			t.Errorf("who began holds %d of 300", n)
		}
		v.finish(t)
	})
}

func TestKeeper_BudgetIsSharedAndEveryInstanceGetsItsTurn(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		budget := func(c *lease.Config) { c.Budget = 400 }
		v.start(t, "a", budget)
		v.start(t, "b", budget)
		seen := map[int32]bool{}
		for range 20 {
			pass(20 * time.Second)
			v.set(func() {
				if len(v.locks) > 400 {
					t.Errorf("%d locks, the budget is 400", len(v.locks))
				}
				for id := range v.locks {
					seen[id] = true
				}
			})
		}
		if len(seen) != 1000 {
			t.Errorf("%d of 1000 had a turn", len(seen))
		}
		v.finish(t)
	})
}

func TestKeeper_LostBellsAreMadeUpByLookingAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		v.set(func() { v.quiet = true })
		v.start(t, "a")
		pass(time.Second)
		v.start(t, "b")
		pass(15 * time.Second)
		v.fair(t)
		if v.gap > 2*time.Second {
			t.Errorf("an instance was without a holder for %s", v.gap)
		}
		v.finish(t)
	})
}

func TestKeeper_NewInstancesAreTakenWhenWoken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		a, b := v.start(t, "a"), v.start(t, "b")
		pass(time.Second)
		v.set(func() { v.instances = append(slices.Clone(v.instances[1:]), 500, 501) })
		v.ring("")
		pass(200 * time.Millisecond)
		if n := v.held(a) + v.held(b); n != 101 {
			t.Errorf("%d of 101 are held", n)
		}
		if v.locks[1] != nil {
			t.Error("an instance that is gone is still held")
		}
		v.finish(t)
	})
}

func TestKeeper_RefusedStartAndFullLockTableAreTriedAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		a := v.start(t, "a")
		v.set(func() { a.lockErr = errors.New("out of shared memory") })
		pass(12 * time.Second)
		if v.tries > 3*100 {
			t.Errorf("%d tries in 12 s", v.tries)
		}
		v.set(func() { a.lockErr, a.refuse = nil, errors.New("the database is slow") })
		pass(10 * time.Second)
		if len(a.active) != 0 || !a.keeper.Valid() {
			t.Error("a refused start counts as held")
		}
		v.set(func() { a.refuse = nil })
		pass(10 * time.Second)
		if len(a.active) != 100 {
			t.Errorf("%d of 100 are active", len(a.active))
		}
		v.finish(t)
	})
}

// fair fails unless every instance is held and no process has more than a tenth above its share.
func (v *server) fair(t *testing.T) {
	t.Helper()
	total, share := 0, float64(len(v.instances))/float64(len(v.sessions))
	for _, s := range v.sessions {
		n := v.held(s)
		total += n
		if f := float64(n); f > share*1.1+1 || f < share*0.9-1 {
			t.Errorf("%s holds %d, the fair share is %.0f", s.id, n, share)
		}
	}
	if total != len(v.instances) {
		t.Errorf("%d of %d instances are held", total, len(v.instances))
	}
}
