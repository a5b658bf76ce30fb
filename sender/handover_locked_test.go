package sender

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// toldToEnd has the bench's engine end, as at SIGTERM.
func (b *bench) toldToEnd() {
	ended := make(chan struct{})
	close(ended)
	b.ended = ended
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

func TestRelease_AtTheEndALockedCursorIsWaitedForBesideTheOthers(t *testing.T) {
	b := newBench(t)
	ids, cursor := b.delivered("locked.example", "free.example")
	end := b.lock("queue_state", "instance_id", ids[0])
	b.toldToEnd()
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

func TestRelease_AtTheEndALockedTableIsWaitedFor(t *testing.T) {
	b := newBench(t)
	ids, cursor := b.delivered("one.example", "two.example")
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `lock table fedsender.queue_state in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	b.toldToEnd()
	b.inSession(func() {
		var released []int32
		b.beside(func() {
			if err := b.Release(t.Context(), ids, func(part []int32) { released = append(released, part...) }); err != nil {
				t.Errorf("says %v", err)
			}
		})
		first := b.waitsSince(time.Time{})
		b.waitsSince(first) // once more: the first attempt has failed
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.until("all is written", func() bool { return b.cursorOf(ids[0]) == cursor && b.cursorOf(ids[1]) == cursor })
	})
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
