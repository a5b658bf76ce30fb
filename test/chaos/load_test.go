package chaos

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/time/rate"
)

// backlog bounds the deliveries that a load has made necessary and nobody has accepted, so that a slow machine is loaded
// as any other.
const backlog = 400

// load is writers that go on until they are stopped. Errors of the database are what some tests are about.
type load struct {
	group     conc.WaitGroup
	stopping  chan struct{}
	once      sync.Once
	due       atomic.Int64 // deliveries
	committed atomic.Int64
	failed    atomic.Int64
}

// load writes so many activities a second, as the seed has it.
func (r *rig) load(ctx context.Context, perSecond int, seed uint64) *load {
	const writers = 6
	l := &load{stopping: make(chan struct{})}
	pace := rate.NewLimiter(rate.Limit(perSecond), writers)
	ledger := r.Fedi.Ledger()
	for range writers {
		r.writers++
		w := newWriter(r.writers, r, seed, tameWays)
		l.group.Go(func() {
			for pace.Wait(ctx) == nil && !l.stopped() {
				if int(l.due.Load())-ledger.Accepted("") > backlog {
					wait(ctx, 10*time.Millisecond)
					continue
				}
				before := w.due
				n, err := w.write(ctx)
				l.due.Add(int64(w.due - before))
				if l.committed.Add(int64(n)); err != nil {
					// It may have been committed all the same.
					l.failed.Add(1)
					w.begin()
				}
			}
		})
	}
	return l
}

func (l *load) stopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// stop returns when every transaction has ended. It may be called twice.
func (l *load) stop(t *testing.T) {
	l.once.Do(func() {
		close(l.stopping)
		l.group.Wait()
		t.Logf("%d activities committed, %d transactions failed", l.committed.Load(), l.failed.Load())
	})
}
