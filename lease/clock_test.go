package lease_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
)

// jumping is a wall clock that is set by hand.
type jumping struct {
	mu  sync.Mutex
	off time.Duration
}

func (j *jumping) now() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return time.Now().Add(j.off)
}

func (j *jumping) set(off time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.off = off
}

func (j *jumping) on(c *lease.Config) { c.Wall = j.now }

// wantLost waits until the keeper has ended because its leases are lost.
func (s *session) wantLost(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		if !errors.Is(err, lease.ErrLost) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("still runs")
		s.stop()
		<-s.ended
	}
	s.v.end(s)
}

func TestKeeper_WallClockThatWentBackDoesNotLengthenTheTerm(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		var wall jumping
		a := v.start(t, "a", wall.on)
		pass(10*time.Second + time.Millisecond)
		wall.set(-time.Hour)
		v.set(func() { a.hang = true })
		pass(lease.Term)
		if a.keeper.Valid() {
			t.Errorf("still valid %s after the last answer", time.Since(a.last))
		}
		a.wantLost(t)
	})
}

func TestKeeper_WallClockThatIsSetWhileTheDatabaseAnswersEndsTheTermOnlyForwards(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, time.Hour} {
		bubble.Test(t, func(t *testing.T) {
			v := newServer(10)
			var wall jumping
			a := v.start(t, "a", wall.on)
			pass(time.Second)
			v.set(func() { a.slow = time.Second })
			pass(1500 * time.Millisecond) // in the middle of the next heartbeat
			wall.set(jump)
			pass(3 * time.Second)
			if got, want := a.keeper.Valid(), jump < 0; got != want {
				t.Errorf("after a jump of %s valid is %t", jump, got)
			}
			pass(time.Minute)
			if got, want := a.keeper.Valid(), jump < 0; got != want {
				t.Errorf("a minute after a jump of %s valid is %t", jump, got)
			}
			v.finish(t)
		})
	}
}

// A machine that is suspended stops the monotonic clock: for the bubble no time passes.
func TestKeeper_MachineThatWasSuspendedSendsNothingWhenItWakes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		var wall jumping
		a := v.start(t, "a", wall.on)
		pass(5 * time.Second)
		wall.set(lease.Term - 2*time.Second)
		if !a.keeper.Valid() {
			t.Error("not valid after a nap that is shorter than the term")
		}
		pass(5 * time.Second)
		wall.set(2*lease.Term - 2*time.Second)
		if a.keeper.Valid() || a.keeper.Context().Err() == nil {
			t.Error("valid after having slept for the whole term")
		}
		a.wantLost(t)
	})
}

// Whoever asks first finds the deadline passed, whatever else goes on; with -race this shows that no lock is missing.
func TestKeeper_ValidIsFinalForAllWhoAsk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		a := v.start(t, "a")
		pass(time.Second)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for ended, began := false, time.Now(); time.Since(began) < time.Minute; <-time.After(time.Millisecond) {
					valid := a.keeper.Valid()
					if ended && valid {
						t.Error("valid again")
					}
					ended = ended || !valid
				}
				if a.keeper.Valid() {
					t.Error("valid a minute after the last answer")
				}
			})
		}
		pass(20 * time.Second)
		v.set(func() { a.hang = true })
		group.Wait()
		a.wantLost(t)
	})
}
