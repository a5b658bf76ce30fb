package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

func TestReload_OperatorsReplayIsObeyedAlthoughEverythingChangedAtOnce(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 2)
	b.exec(`select fedsender.replay('a.example', '-infinity')`)
	b.exec(`insert into fedsender.change (kind) values ('followers')`)
	b.read()
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	b.until("all is sent again", func() bool { return len(b.got(id)) == len(activities) })
}

// TestSave_OfAllInstancesAtOnceFitsIntoTheSession fails where one statement would take longer than the lease session
// allows: it would fail again and again, each time with more to write.
func TestSave_OfAllInstancesAtOnceFitsIntoTheSession(t *testing.T) {
	const n = 30_000
	b := newBench(t)
	b.withNews(n)
	for range n {
		b.dispatcher.addLetter(1, "https://a.example/"+time.Now().String(), "a reason of some length, as they are")
	}
	b.saved()
	var behind int
	b.scan(&behind, `select count(*) from fedsender.queue_state where last_successful_id < 7`)
	if behind > 0 {
		t.Errorf("%d cursors were not written", behind)
	}
}

// withNews begins with so many instances that have something to save.
func (b *bench) withNews(n int) (ids []int32) {
	b.t.Helper()
	b.exec(`insert into fedsender.instance (domain) select i || '.example' from generate_series(1, $1) i`, n)
	b.scan(&ids, `select array_agg(id order by id) from fedsender.instance`)
	var slots []*slot
	for _, id := range ids {
		s := &slot{id: id, worker: worker.New(worker.State{}, worker.Limits{}, time.Time{}, 0)}
		s.worker.RetryNow() // news
		slots = append(slots, s)
	}
	b.dispatcher.add(b.dispatcher.expect(ids, false), slots)
	b.dispatcher.advance(7, time.Time{})
	return ids
}

// TestSave_MoreLockedRowsThanAPartHasHoldUpNoOtherInstance has those be the oldest, so that the first part is all theirs.
func TestSave_MoreLockedRowsThanAPartHasHoldUpNoOtherInstance(t *testing.T) {
	const locked, free = maxCheckpoints + 50, 50
	b := newBench(t)
	ids := b.withNews(locked + free)
	b.saved() // makes the rows
	for i, id := range ids {
		s := b.dispatcher.slots[id]
		s.worker.RetryNow()
		s.unsavedSince = time.Now().Add(-time.Hour + time.Duration(i))
	}
	b.dispatcher.advance(8, time.Time{})
	end := b.lock("queue_state", "instance_id", ids[:locked]...)
	written := func() (n int) {
		b.scan(&n, `select count(*) from fedsender.queue_state where last_successful_id = 8`)
		return n
	}
	b.inSession(func() {
		if err := b.save(t.Context(), nil, noTurn); !errors.Is(err, errLocked) {
			t.Errorf("says %v", err)
		}
		if n := written(); n != free {
			t.Errorf("%d cursors were written, want those of the %d free ones", n, free)
		}
		end()
		if err := b.save(t.Context(), nil, noTurn); err != nil {
			t.Error(err)
		}
	})
	if n := written(); n != locked+free {
		t.Errorf("%d cursors were written, want all", n)
	}
}

// TestSave_OfCertainCursorsEndsWithThemHoweverManyDeadLettersComeBefore has so many letters that each is a part of its own, and more of
// them than one save has parts.
func TestSave_OfCertainCursorsEndsWithThemHoweverManyDeadLettersComeBefore(t *testing.T) {
	b := newBench(t)
	ids, sent := b.delivered("a.example")
	many := make([]int32, maxLetterInstances/2+1)
	for i := range many {
		many[i] = ids[0] + 1 + int32(i)
	}
	for n := range int64(maxParts + 2) {
		b.dispatcher.unsaved.Letters = append(b.dispatcher.unsaved.Letters, pg.Letter{ActivityID: sent + 1 + n, InstanceIDs: many, Reason: "no key"})
	}
	b.inSession(func() {
		if err := b.save(t.Context(), ids, 0); err != nil {
			t.Error(err)
		}
	})
	if cursor := b.cursorOf(ids[0]); cursor != sent {
		t.Errorf("the cursor is at %d, want %d: who gives the instance up now has what was delivered sent again", cursor, sent)
	}
}

func TestSave_WhoHasLostItsLeasesMovesNoCursor(t *testing.T) {
	b := newBench(t)
	ids, sent := b.delivered("a.example")
	b.inSession(func() {
		b.exec(`select pg_terminate_backend($1, 10000)`, b.session.Load().PID())
		if err := b.save(t.Context(), nil, 0); !errors.Is(err, pg.ErrSessionLost) {
			t.Errorf("saved without leases: %v", err)
		}
	})
	if cursor := b.cursorOf(ids[0]); cursor >= sent {
		t.Errorf("the cursor was moved to %d", cursor)
	}
}

func TestSave_RowThatSomebodyHasLockedHoldsUpNoOtherInstance(t *testing.T) {
	b := newBench(t)
	locked, claimed, free, idle := b.instance("locked.example"), b.instance("claimed.example"), b.instance("free.example"), b.known("idle.example")
	b.read()
	if err := b.Acquired(t.Context(), []int32{locked, claimed, free, idle}); err != nil {
		t.Fatal(err)
	}
	first := b.activity()
	for _, id := range []int32{locked, claimed, free} {
		b.deliver(id, first)
	}
	endRow, endInstance := b.lock("queue_state", "instance_id", locked, idle), b.lock("instance", "id", claimed)
	b.inSession(func() {
		err := b.save(t.Context(), nil, turnOf(idle))
		if !errors.Is(err, errLocked) || !strings.Contains(err.Error(), "locked.example") || strings.Contains(err.Error(), "free.example") {
			t.Errorf("says %v", err)
		}
		if got := b.cursorOf(free); got != first {
			t.Errorf("the cursor of the other is %d, want %d", got, first)
		}
		endRow()
		endInstance()
		if err := b.save(t.Context(), nil, turnOf(idle)); err != nil {
			t.Error(err)
		}
	})
	for _, id := range []int32{locked, claimed, idle} {
		if got := b.cursorOf(id); got != first {
			t.Errorf("later cursor %d is %d, want %d", id, got, first)
		}
	}
	if got := b.got(locked); !slices.Equal(got, []int64{first}) {
		t.Errorf("what waits for its cursor was begun anew: sent %d", got)
	}
}

func (b *bench) cursorOf(id int32) (cursor int64) {
	b.t.Helper()
	b.scan(&cursor, `select last_successful_id from fedsender.queue_state where instance_id = $1`, id)
	return cursor
}

// lock keeps the rows of instances in a table locked until end is called, as a transaction that was left open does.
func (b *bench) lock(table, column string, ids ...int32) (end func()) {
	b.t.Helper()
	return b.leaveOpen(fmt.Sprintf(`select from fedsender.%s where %s = any ($1) for update`, table, column), ids)
}

// leaveOpen begins a transaction with the statement, and leaves it open until end is called.
func (b *bench) leaveOpen(sql string, args ...any) (end func()) {
	b.t.Helper()
	tx, err := b.pool.Begin(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	end = func() { _ = tx.Rollback(context.WithoutCancel(b.t.Context())) } // once more is no error that matters
	b.t.Cleanup(end)
	if _, err := tx.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
	return end
}
