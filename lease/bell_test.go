package lease_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bubble"
)

// fleet starts processes and lets them settle.
func (v *server) fleet(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		v.start(t, fmt.Sprintf("p%02d", i))
	}
	pass(time.Minute)
	v.set(func() { v.gap, v.beats = 0, 0 })
}

// gapless fails where an instance that was unlocked waited for its next holder, or waits.
func (v *server) gapless(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gap > 20*time.Millisecond || len(v.freed) > 0 {
		t.Errorf("an instance was without a holder for %s, %d are", v.gap, len(v.freed))
	}
}

func TestKeeper_InstancesThatMoveToANewProcessWaitForHardlyAnything(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(4000)
		v.fleet(t, 20)
		late := v.start(t, "late")
		pass(50 * time.Millisecond)
		v.ring("") // they see it before it takes anything
		pass(5 * time.Second)
		if n := v.held(late); n < 4000/21*9/10 {
			t.Errorf("the new process holds %d", n)
		}
		v.gapless(t)
		v.finish(t)
	})
}

func TestKeeper_InstancesOfAProcessThatLeavesWaitForHardlyAnything(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(4000)
		v.fleet(t, 20)
		leaving := v.sessions[11]
		v.set(func() { leaving.drain = 30 * time.Millisecond })
		leaving.stop()
		pass(time.Second)
		<-leaving.ended
		v.end(leaving)
		v.gapless(t)
		v.finish(t)
	})
}

func TestKeeper_LeavingHandsOverToAProcessThatHasJustBegun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		v.fleet(t, 2)
		v.start(t, "late")
		pass(50 * time.Millisecond)
		leaving, began := v.sessions[0], time.Now()
		leaving.stop()
		<-leaving.ended
		if took := time.Since(began); took > 400*time.Millisecond {
			t.Errorf("it took %s to leave", took)
		}
		v.end(leaving)
		pass(time.Second)
		v.fair(t)
		if v.gap > 20*time.Millisecond {
			t.Errorf("an instance was without a holder for %s", v.gap)
		}
		v.finish(t)
	})
}

func TestKeeper_BellForSomeWakesNobodyElse(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(4000)
		v.fleet(t, 20)
		v.start(t, "late")
		pass(time.Second)
		// Each looks at the new process once, the sentinels and that one itself up to four times more, one in two beats. Who was
		// given something looks again each time, which is the new one: for bells of nearly one time each 3 ms where a look costs
		// nothing, so at most once for each of twenty holders, and twice for few.
		if most := 21 + 4*4 + 4 + 40; v.beats > most {
			t.Errorf("%d heartbeats while a process joined, want at most %d", v.beats, most)
		}
		v.finish(t)
	})
}

func TestKeeper_BellForMoreThanItCanNameIsForAll(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(400)
		a := v.start(t, "a")
		pass(5 * time.Second)
		for i := range 230 {
			v.start(t, fmt.Sprintf("process-with-a-name-of-forty-five-bytes-%05d", i))
		}
		pass(3 * time.Second)
		if v.longest >= 8000 {
			t.Errorf("a bell of %d bytes", v.longest)
		}
		if n := v.held(a); n > 10 || len(v.freed) > 0 {
			t.Errorf("the first process holds %d, %d instances are without a holder", n, len(v.freed))
		}
		v.finish(t)
	})
}

func TestKeeper_MissedBellIsMadeUpByLooking(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		a, b := v.start(t, "a"), v.start(t, "b")
		pass(30 * time.Second)
		v.set(func() { v.quiet = true })
		a.stop()
		<-a.ended
		v.set(func() { v.quiet = false })
		b.keeper.Hear("") // the listening connection is back
		pass(200 * time.Millisecond)
		if n := v.held(b); n != 100 {
			t.Errorf("holds %d of 100", n)
		}
		v.end(a)
		v.finish(t)
	})
}

func TestKeeper_WhoLeavesSlowlyHandsOverToWhoIsThereThen(t *testing.T) {
	for leaves := range 2 { // one of the two was to have it
		bubble.Test(t, func(t *testing.T) {
			v := newServer(1)
			for i := range 3 {
				v.start(t, fmt.Sprint("p", i))
			}
			pass(2 * time.Second)
			i := slices.IndexFunc(v.sessions, func(s *session) bool { return v.held(s) == 1 })
			slow, others := v.sessions[i], slices.Delete(slices.Clone(v.sessions), i, i+1)
			v.set(func() { slow.drain = 20 * time.Second })
			slow.stop()
			pass(11 * time.Second)
			for _, s := range []*session{others[leaves], slow} {
				s.stop()
				if err := <-s.ended; err != nil {
					t.Error(err)
				}
				v.end(s)
			}
			pass(6 * time.Second)
			if n := v.held(others[1-leaves]); n != 1 || v.gap > 50*time.Millisecond {
				t.Errorf("the one that is left holds %d of 1, after a pause of %v", n, v.gap)
			}
			v.finish(t)
		})
	}
}

// Each step of a hand-over that waits for the one before it is a round trip longer: on a crowded machine that counts.
func TestKeeper_ALeavingProcessHandsOverInAFewRoundTrips(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const trip, drain = 20 * time.Millisecond, 50 * time.Millisecond
		v := newServer(1)
		v.fleet(t, 2)
		from, to := v.sessions[0], v.sessions[1]
		if v.held(from) == 0 {
			from, to = to, from
		}
		v.set(func() { from.slow, to.slow, from.drain = trip, trip, drain })
		began := time.Now()
		from.stop()
		for v.held(to) == 0 {
			pass(time.Millisecond)
		}
		// It tells others while deliveries end: three trips. Then it unlocks and rings in one, and the other locks.
		if took := time.Since(began); took > 3*trip+3*trip {
			t.Errorf("the other process has the instance after %s", took)
		}
		if v.gap > 2*trip {
			t.Errorf("the instance was without a holder for %s", v.gap)
		}
		v.set(func() { to.slow = 0 })
		<-from.ended
		v.end(from)
		v.finish(t)
	})
}

// Who locks something looks who is there, and may see then that a process is gone whose farewell it has heard.
func TestKeeper_WhoSaidThatItLeavesIsNotTakenForVanishedHoweverOftenOneLooks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(300)
		v.fleet(t, 3)
		stays, first, second := v.sessions[0], v.sessions[1], v.sessions[2]
		v.set(func() { stays.slow = 20 * time.Millisecond })
		first.stop()
		<-first.ended
		v.end(first)
		pass(30 * time.Millisecond)
		second.stop() // while the one that stays locks what the first had, before it looks once more
		<-second.ended
		v.end(second)
		pass(time.Second)
		v.set(func() { stays.slow = 0 })
		if n := v.held(stays); n != 300 || v.gap > 200*time.Millisecond {
			t.Errorf("the one that stays holds %d of 300; the longest pause was %s", n, v.gap)
		}
		v.finish(t)
	})
}
