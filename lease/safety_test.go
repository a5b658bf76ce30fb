package lease_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
)

func TestKeeper_SilentDatabaseEndsTheTermSixSecondsAfterTheLastGoodStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		a := v.start(t, "a")
		v.set(func() { a.slow = 500 * time.Millisecond })
		pass(10*time.Second + time.Millisecond)
		v.set(func() { a.hang = true })
		<-a.keeper.Context().Done()
		// The calls take 0.5 s; the server saw the last one at its end.
		if d := time.Since(a.last); d > lease.Term-500*time.Millisecond || d < 3*time.Second {
			t.Errorf("the term ended %v after the last answer", d)
		}
		if a.keeper.Valid() {
			t.Error("may still send")
		}
		if err := <-a.ended; !errors.Is(err, lease.ErrLost) {
			t.Errorf("ended with %v", err)
		}
		v.end(a)
	})
}

func TestKeeper_AnswerAfterTheDeadlineDoesNotReviveIt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		a := v.start(t, "a")
		pass(time.Second)
		v.set(func() { a.slow = 6500 * time.Millisecond })
		pass(10 * time.Second)
		if err := <-a.ended; !errors.Is(err, lease.ErrLost) || a.keeper.Valid() {
			t.Errorf("ended with %v", err)
		}
		v.end(a)
	})
}

func TestKeeper_WallClockThatJumpsAheadStopsSendingAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		var jump time.Duration
		a := v.start(t, "a", func(c *lease.Config) {
			c.Wall = func() time.Time { v.mu.Lock(); defer v.mu.Unlock(); return time.Now().Add(jump) }
		})
		set := func(d time.Duration) { v.set(func() { jump = d }) }
		pass(time.Second)
		set(-time.Hour)
		if !a.keeper.Valid() {
			t.Error("a wall clock that goes back ends the term")
		}
		pass(4 * time.Second)
		if !a.keeper.Valid() {
			t.Error("a wall clock that went back ends the term")
		}
		set(-time.Hour + 7*time.Second)
		if a.keeper.Valid() {
			t.Error("still valid although the machine was suspended for 7 s")
		}
		set(-time.Hour)
		if a.keeper.Valid() {
			t.Error("valid again")
		}
		if err := <-a.ended; !errors.Is(err, lease.ErrLost) {
			t.Errorf("ended with %v", err)
		}
		v.end(a)
	})
}

func TestKeeper_SessionThatTheServerEndsStopsSendingAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(10)
		a, b := v.start(t, "a"), v.start(t, "b")
		pass(3 * time.Second)
		v.end(a)
		synctest.Wait()
		if a.keeper.Valid() || a.keeper.Context().Err() == nil {
			t.Error("may still send")
		}
		if err := <-a.ended; !errors.Is(err, lease.ErrLost) {
			t.Errorf("ended with %v", err)
		}
		pass(time.Second)
		if n := v.held(b); n != 10 {
			t.Errorf("the other holds %d of 10", n)
		}
		v.finish(t)
	})
}

// The fake server panics where two processes may send to one instance.
func TestKeeper_ProcessThatLearnsLateThatItsSessionEndedMeetsNoOther(t *testing.T) {
	for since := time.Duration(0); since < 400*time.Millisecond; since += 40 * time.Millisecond { // a heartbeat
		bubble.Test(t, func(t *testing.T) {
			v := newServer(1000)
			far := v.start(t, "far")
			v.start(t, "near")
			v.start(t, "nearer")
			pass(5*time.Second + since)
			v.set(func() { far.far = 200 * time.Millisecond })
			v.end(far)
			pass(time.Second)
			<-far.ended
			v.fair(t)
			v.finish(t)
		})
	}
}

// Whoever is given something at that moment has no reason to look who is there.
func TestKeeper_ProcessThatLearnsLateMeetsNoOtherThatIsJustGivenItsShare(t *testing.T) {
	for since := time.Duration(0); since < time.Second; since += 40 * time.Millisecond {
		bubble.Test(t, func(t *testing.T) {
			v := newServer(1000)
			far := v.start(t, "far")
			near := v.start(t, "near")
			pass(5 * time.Second)
			v.set(func() { far.far, far.drain, near.drain = 200*time.Millisecond, 2*time.Second, 300*time.Millisecond })
			v.start(t, "fresh")
			pass(since)
			v.end(far)
			pass(2 * time.Second)
			<-far.ended
			v.fair(t)
			v.finish(t)
		})
	}
}

func TestKeeper_HungProcessIsEndedAfterThirtySeconds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		a := v.start(t, "a")
		v.start(t, "b")
		v.start(t, "c")
		pass(5 * time.Second)
		v.set(func() { a.hang = true })
		pass(25 * time.Second)
		if v.held(a) == 0 {
			t.Error("ended too early")
		}
		if a.keeper.Valid() {
			t.Error("a process without an answer for 25 s may send")
		}
		pass(6500 * time.Millisecond)
		v.fair(t)
		if len(v.sessions) != 2 {
			t.Errorf("%d sessions are left", len(v.sessions))
		}
		<-a.ended
		v.finish(t)
	})
}

// The fake server panics where two processes may send to one instance, as those whose session is ended for nothing may.
func TestKeeper_ServerWhoseClockIsSetCostsNobodyItsSession(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		bubble.Test(t, func(t *testing.T) {
			v := newServer(1000)
			for i := range 5 {
				s := v.start(t, fmt.Sprint("a", i))
				v.set(func() { s.far = 200 * time.Millisecond })
			}
			pass(10*time.Second + time.Millisecond)
			v.set(func() { v.clock = jump })
			pass(20 * time.Second)
			v.fair(t)
			if ended := len(v.all) - len(v.sessions); ended > 0 {
				t.Errorf("%d sessions were ended when the clock was set by %s", ended, jump)
			}
			v.finish(t)
		})
	}
}

func TestKeeper_WhatAHungProcessKeptIsTakenAsSoonAsItsSessionHasEnded(t *testing.T) {
	for _, others := range []int{1, 2, 6} {
		t.Run(fmt.Sprint(others, " others"), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				v := newServer(1000)
				v.dying = 100 * time.Millisecond
				hung := v.start(t, "b")
				for i := range others {
					v.start(t, fmt.Sprint("c", i))
				}
				pass(5 * time.Second)
				v.set(func() { hung.hang = true })
				<-hung.gone
				if d := time.Since(hung.last); d < 30*time.Second || d > 33*time.Second {
					t.Errorf("ended after %s of silence", d)
				}
				pass(time.Second)
				v.fair(t)
				<-hung.ended
				v.finish(t)
			})
		})
	}
}

func TestKeeper_WhatIsFreeDoesNotWaitForAProcessThatHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		hung, dies := v.start(t, "a"), v.start(t, "b")
		v.start(t, "c")
		v.start(t, "d")
		pass(5 * time.Second)
		v.set(func() { hung.hang = true })
		kept := v.held(hung)
		pass(13 * time.Second)
		if v.held(hung) != kept {
			t.Error("its session was ended too early")
		}
		v.end(dies)
		pass(time.Second)
		v.set(func() {
			if n := len(v.locks); n != 1000 {
				t.Errorf("%d of 1000 are locked a second after the crash of another one", n)
			}
		})
		<-dies.ended
		<-hung.gone
		<-hung.ended
		pass(time.Second)
		v.fair(t)
		v.finish(t)
	})
}

func TestKeeper_OlderSessionOfTheSameProcessIsEndedAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		old := v.start(t, "a")
		pass(time.Second)
		again := v.start(t, "a")
		pass(time.Second)
		if v.held(again) != 100 {
			t.Errorf("holds %d of 100", v.held(again))
		}
		if err := <-old.ended; !errors.Is(err, lease.ErrLost) {
			t.Error(err)
		}
		v.finish(t)
	})
}

func TestKeeper_ContextKeepsValuesAndOutlivesItsParent(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	k := lease.New(ctx, lease.Config{})
	cancel()
	if k.Context().Err() != nil || k.Context().Value(key{}) != "kept" {
		t.Error("the context follows its parent")
	}
	if k.Valid() {
		t.Error("valid before Run")
	}
}

// wild is a Handler with a defect.
type wild struct{ *session }

func (wild) Acquired(context.Context, []int32) error { panic("a defect") }

func TestKeeper_HandlerThatPanicsEndsRunAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(3)
		s := v.start(t, "a", func(c *lease.Config) { c.Handler = wild{c.Session.(*session)} })
		pass(time.Second)
		select {
		case err := <-s.ended:
			if err == nil || !strings.Contains(err.Error(), "a defect") {
				t.Errorf("ended with %v, want the panic", err)
			}
		default:
			t.Error("goes on with instances that nobody delivers to")
			s.stop()
			<-s.ended
		}
		v.end(s)
	})
}
