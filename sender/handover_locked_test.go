package sender

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// toldToEnd has the bench's engine end, as at SIGTERM.
func (b *bench) toldToEnd() { b.toldLater()() }

// toldLater has the bench's engine end when end is called.
func (b *bench) toldLater() (end func()) {
	ended := make(chan struct{})
	b.ended = ended
	return func() { close(ended) }
}

// delivered holds instances that have got an activity which no cursor knows of.
func (b *bench) delivered(domains ...string) (ids []int32, cursor int64) {
	b.t.Helper()
	for _, domain := range domains {
		ids = append(ids, b.instance(domain))
	}
	b.read()
	if err := b.Acquired(b.t.Context(), ids); err != nil {
		b.t.Fatal(err)
	}
	cursor = b.activity()
	for _, id := range ids {
		b.deliver(id, cursor)
	}
	return ids, cursor
}

func TestRelease_ALockedCursorIsWaitedForBesideTheOthers(t *testing.T) {
	for name, told := range map[string]func(b *bench){"at the end": (*bench).toldToEnd, "while it goes on": func(*bench) {}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ids, cursor := b.delivered("locked.example", "free.example")
			end := b.lock("queue_state", "instance_id", ids[0])
			told(b)
			b.inSession(func() {
				var released []int32
				err := b.Release(t.Context(), ids, func(part []int32) {
					if released = append(released, part...); slices.Equal(released, ids[1:]) {
						end() // the other one did not wait for it, and it was not given up
					}
				})
				if err != nil || !slices.Equal(released, []int32{ids[1], ids[0]}) {
					t.Errorf("says %v, released %d", err, released)
				}
			})
			for _, id := range ids {
				if got := b.cursorOf(id); got != cursor {
					t.Errorf("cursor %d is %d, want %d", id, got, cursor)
				}
			}
			if n := b.left.unwritten.Load(); n != 0 {
				t.Errorf("%d are said not to be written", n)
			}
		})
	}
}

func TestRelease_AtTheEndALockedCursorIsGivenUpWhenTheTimeIsOver(t *testing.T) {
	b := newBench(t)
	ids, _ := b.delivered("locked.example", "free.example")
	end := b.lock("queue_state", "instance_id", ids[0])
	defer end()
	b.toldToEnd()
	ctx, over := context.WithCancel(t.Context())
	b.inSession(func() {
		var released []int32
		err := b.Release(ctx, ids, func(part []int32) {
			released = append(released, part...)
			over()
		})
		if !errors.Is(err, errLocked) || !slices.Equal(released, []int32{ids[1], ids[0]}) {
			t.Errorf("says %v, released %d", err, released)
		}
	})
	if n := b.left.unwritten.Load(); n != 1 {
		t.Errorf("%d are said not to be written, want the one", n)
	}
}

func TestRelease_ALockedTableIsWaitedFor(t *testing.T) {
	for name, told := range map[string]func(b *bench){"at the end": (*bench).toldToEnd, "while it goes on": func(*bench) {}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ids, cursor := b.delivered("one.example", "two.example")
			unlock := b.lockQueueState()
			told(b)
			b.inSession(func() {
				b.beside(func() {
					if err := b.Release(t.Context(), ids, func([]int32) {}); err != nil {
						t.Errorf("says %v", err)
					}
				})
				first := b.waitsSince(time.Time{})
				b.waitsSince(first) // once more: the first attempt has failed
				unlock()
				b.until("all is written", func() bool { return b.cursorOf(ids[0]) == cursor && b.cursorOf(ids[1]) == cursor })
			})
		})
	}
}

func TestRelease_WhoGoesOnWaitsForALockedTableLongerThanForDeliveries(t *testing.T) {
	b := newBench(t)
	ids, cursor := b.delivered("one.example")
	unlock := b.lockQueueState()
	ctx, over := context.WithCancel(t.Context())
	over()
	b.inSession(func() {
		var released atomic.Bool
		b.beside(func() {
			if err := b.Release(ctx, ids, func([]int32) { released.Store(true) }); err != nil {
				t.Errorf("says %v", err)
			}
		})
		first := b.waitsSince(time.Time{})
		b.waitsSince(first)
		if released.Load() {
			t.Error("it was given up without its cursor: the next holder sends again what was delivered")
		}
		unlock()
		b.until("it is given up", released.Load)
	})
	if got := b.cursorOf(ids[0]); got != cursor {
		t.Errorf("the cursor is %d, want %d", got, cursor)
	}
}

func TestRelease_WhoHasLostItsLeasesWaitsForNoLockedTable(t *testing.T) {
	b := newBench(t)
	ids, _ := b.delivered("one.example")
	defer b.lockQueueState()()
	leases, lose := context.WithCancel(t.Context())
	b.dispatcher.begin(leases)
	patience, over := context.WithCancel(leases)
	over() // before that
	b.inSession(func() {
		var ended atomic.Bool
		b.beside(func() {
			if err := b.Release(patience, ids, func([]int32) {}); err == nil {
				t.Error("says that all is written")
			}
			ended.Store(true)
		})
		b.waitsSince(time.Time{})
		lose()
		b.until("it is given up", ended.Load)
	})
}

func TestRelease_WhoIsToldToEndMeanwhileWaitsAsLongAsDeliveriesMayTake(t *testing.T) {
	b := newBench(t)
	ids, _ := b.delivered("one.example")
	unlock := b.lockQueueState()
	defer unlock()
	b.config.ShutdownTimeout = time.Millisecond
	end := b.toldLater()
	b.inSession(func() {
		b.beside(func() {
			b.waitsSince(time.Time{})
			end()
		})
		if err := b.Release(t.Context(), ids, func([]int32) {}); err == nil {
			t.Error("says that all is written")
		}
	})
	if n := b.left.unwritten.Load(); n != 1 {
		t.Errorf("%d are said not to be written, want the one", n)
	}
}

// lockQueueState is what an administrator's lock does to every cursor, until unlock is called.
func (b *bench) lockQueueState() (unlock func()) {
	b.t.Helper()
	return b.leaveOpen(`lock table fedsender.queue_state in access exclusive mode`)
}

// waitsSince waits until a statement that began later waits for a lock, and returns when it began.
func (b *bench) waitsSince(earlier time.Time) (began time.Time) {
	b.t.Helper()
	b.until("a statement waits for a lock", func() bool {
		b.scan(&began, `
			select coalesce(max(query_start), $1::timestamptz)
			from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock' and query_start > $1::timestamptz`, earlier)
		return began.After(earlier)
	})
	return began
}
