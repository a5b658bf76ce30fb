package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
)

// worker is a Handler of instances of which the first so many always have work.
type worker struct {
	*session
	busy int32
	last map[int32]time.Time // when each with work was held last
}

func (w *worker) Waiting(own []int32) map[int32]time.Time {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	work := map[int32]time.Time{}
	for _, id := range own {
		if w.active[id] {
			w.last[id] = time.Now()
		}
		if id <= w.busy {
			work[id] = w.last[id]
		}
	}
	return work
}

func TestKeeper_TurnsAreBoundedByHowManyHaveWork(t *testing.T) {
	const instances, locks, busy = 1000, 100, 250
	bubble.Test(t, func(t *testing.T) {
		v := newServer(instances)
		w := &worker{busy: busy, last: map[int32]time.Time{}}
		s := v.start(t, "a", func(c *lease.Config) {
			w.session = c.Session.(*session)
			c.Budget, c.Handler = locks, w
		})
		held, longest := map[int32]time.Time{}, map[bool]time.Duration{}
		began := time.Now()
		for time.Since(began) < 40*time.Minute {
			pass(time.Second)
			v.set(func() {
				if len(v.locks) > locks {
					t.Fatalf("%d locks, the budget is %d", len(v.locks), locks)
				}
				for _, id := range v.instances {
					if s.active[id] {
						held[id] = time.Now()
					}
					if held[id].IsZero() {
						held[id] = began
					}
					longest[id <= busy] = max(longest[id <= busy], time.Since(held[id]))
				}
			})
		}
		// Visits come on top of the work: each instance without any is visited every ten minutes, and waits its turn.
		if got := longest[true]; got > 45*time.Second {
			t.Errorf("one with work waited %s, more than three turns, their hand-overs and visits", got)
		}
		if got := longest[false]; got > 11*time.Minute {
			t.Errorf("one without work waited %s", got)
		}
		if most := 40*60/10*locks + 4*instances; s.moves > most+most/10 {
			t.Errorf("%d were given up, more than the turns of %d", s.moves, most)
		}
		v.finish(t)
	})
}

func TestKeeper_WhoHasWorkIsHeldBeforeTheOthers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1000)
		w := &worker{busy: 80, last: map[int32]time.Time{}}
		s := v.start(t, "a", func(c *lease.Config) {
			w.session = c.Session.(*session)
			c.Budget, c.Handler = 100, w
		})
		pass(10 * time.Second)
		var before, after int
		v.set(func() { before = s.moves })
		for range 60 {
			pass(10 * time.Second)
			v.set(func() {
				for id := int32(1); id <= w.busy; id++ {
					if v.locks[id] == nil {
						t.Errorf("%d has work and is not held", id)
					}
				}
			})
		}
		// The others are seen once at the beginning, and visited, in the room that is left.
		v.set(func() { after = s.moves })
		if n := after - before; n > 2100 {
			t.Errorf("%d were given up in ten minutes", n)
		}
		v.finish(t)
	})
}

// filled is a Session on a server whose lock table has room for so many locks only.
type filled struct {
	*session
	room  int
	tries []int
}

func (f *filled) Lock(ctx context.Context, ids []int32) ([]int32, error) {
	f.tries = append(f.tries, len(ids))
	if f.v.held(f.session)+len(ids) > f.room {
		return nil, errors.New("out of shared memory")
	}
	return f.session.Lock(ctx, ids)
}

func TestKeeper_FullLockTableIsFilledByHalves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(20000)
		f := &filled{room: 8500}
		s := v.start(t, "a", func(c *lease.Config) {
			f.session = c.Session.(*session)
			c.Session = f
		})
		pass(30 * time.Second)
		if n := v.held(s); n < 8490 {
			t.Errorf("%d of 8500 locks are taken", n)
		}
		if n := len(f.tries); n > 40 {
			t.Errorf("%d statements in 30 s: %v", n, f.tries)
		}
		before := len(f.tries)
		v.set(func() { f.room = 30000 })
		pass(10 * time.Second)
		if n := v.held(s); n != 20000 {
			t.Errorf("%d of 20000 are held once there is room", n)
		}
		if n := len(f.tries) - before; n > 20 {
			t.Errorf("that took %d statements", n)
		}
		v.finish(t)
	})
}
