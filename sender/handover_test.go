package sender

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestAcquired_WhatFailsLeavesNothingUnderWay(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	bad := b.instance("b.example")
	b.read()
	b.exec(`update fedsender.instance_health set ahead_id = 9, held = '[{"id": "x"}]' where instance_id = $1`, bad)
	ids := []int32{id}
	for n := range int32(stateChunk) { // the bad one is in the second chunk
		ids = append(ids, bad+1+n)
	}
	ids = append(ids, bad)
	if err := b.Acquired(t.Context(), ids); err == nil {
		t.Fatal("what is held of an instance could be read although it is nonsense")
	}
	if held := b.dispatcher.held(); len(held) > 0 {
		t.Errorf("%v are delivered to although their leases are given up", held)
	}
}

func TestAcquired_RedeliveriesThatCantBeReadCostNoLease(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	b.exec(`alter table fedsender.redelivery rename to hidden`)
	if err := b.Acquired(t.Context(), []int32{id}); err != nil && len(b.dispatcher.held()) > 0 {
		t.Errorf("the lease is given up and the instance is delivered to: %v", err)
	}
}

// stall keeps activities from being read until the returned function is called.
func (b *bench) stall() (end func()) {
	b.t.Helper()
	tx, err := b.pool.Begin(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := tx.Exec(b.t.Context(), `lock table fedsender.activity in access exclusive mode`); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(b.t.Context()); err != nil && err != pgx.ErrTxClosed {
			b.t.Error(err)
		}
	}
}

// stalled waits until somebody waits for what stall took.
func (b *bench) stalled() {
	b.t.Helper()
	b.until("somebody waits for the table", func() (ok bool) {
		b.scan(&ok, `select exists (select from pg_locks where not granted and relation = 'fedsender.activity'::regclass)`)
		return ok
	})
}

// holding makes an instance of which an earlier holder left an activity unsettled while it settled a later one.
func (b *bench) holding(domain string) (id int32, held int64) {
	b.t.Helper()
	id = b.instance(domain)
	held = b.activity()
	ahead := b.activity()
	b.read()
	b.exec(`
		update fedsender.instance_health
		set ahead_id = $2, held = jsonb_build_array(jsonb_build_object('id', $3::bigint))
		where instance_id = $1`, id, ahead, held)
	return id, held
}

func TestAcquired_PauseWhileTheStateIsReadIsObeyed(t *testing.T) {
	b := newBench(t)
	id, _ := b.holding("a.example")
	end := b.stall()
	b.beside(func() {
		if err := b.Acquired(t.Context(), []int32{id}); err != nil {
			t.Error(err)
		}
	})
	b.stalled()
	b.exec(`select fedsender.pause('a.example')`)
	if err := b.rereadControls(t.Context(), []int32{id}); err != nil { // as the head does
		t.Fatal(err)
	}
	end()
	b.until("the instance is held", func() bool { return len(b.dispatcher.held()) > 0 })
	b.dispatcher.change([]int32{id}, func(s *slot, now time.Time) {
		if !s.stopped(now) {
			t.Error("the instance is not paused")
		}
	})
}

func TestAcquired_FollowThatTheHeadHasNotReadYetCountsForHeldActivities(t *testing.T) {
	b := newBench(t)
	var id int32
	b.scan(&id, `insert into fedsender.instance (domain) values ('a.example') returning id`)
	b.read()
	b.follow(id, "a.example")
	held, ahead := b.activity(), b.activity()
	b.exec(`
		update fedsender.instance_health
		set ahead_id = $2, held = jsonb_build_array(jsonb_build_object('id', $3::bigint))
		where instance_id = $1`, id, ahead, held)
	b.beside(func() {
		if err := b.Acquired(t.Context(), []int32{id}); err != nil {
			t.Error(err)
		}
	})
	<-b.news // the head is asked to read
	b.read()
	b.until("the held activity is sent", func() bool { return slices.Equal(b.got(id), []int64{held}) })
}

func TestAcquired_HeldActivityThatIsGoneIsNotWaitedFor(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	last := b.activity()
	b.read()
	b.exec(`
		update fedsender.instance_health
		set ahead_id = $2::bigint + 2, held = jsonb_build_array(jsonb_build_object('id', $2::bigint + 1))
		where instance_id = $1`, id, last)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.Acquired(ctx, []int32{id}); err != nil {
		t.Errorf("waited for an activity that is not there: %v", err)
	}
}

func TestRelease_CursorsThatOnlyPassedAreWrittenTogether(t *testing.T) {
	b := newBench(t)
	var ids []int32
	for n := range int32(2*handoverPart + 1) {
		ids = append(ids, b.instance(fmt.Sprintf("i-%d.example", n)))
	}
	b.read()
	if err := b.Acquired(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	head := b.activity() // for nobody
	b.read()
	b.inSession(func() {
		if err := b.Release(t.Context(), ids, func([]int32) {}); err != nil {
			t.Error(err)
		}
	})
	var written, transactions int
	b.scan(&written, `select count(*) from fedsender.queue_state where last_successful_id = $1`, head)
	b.scan(&transactions, `select count(distinct xmin::text) from fedsender.queue_state where last_successful_id = $1`, head)
	if written != len(ids) || transactions != 1 {
		t.Errorf("%d of %d cursors were written in %d transactions", written, len(ids), transactions)
	}
}

// passed is an instance that is held, and whose cursor only follows the head: an activity was for others.
func (b *bench) passed(domain string) (id int32) {
	b.t.Helper()
	id = b.known(domain)
	b.read()
	if err := b.Acquired(b.t.Context(), []int32{id}); err != nil {
		b.t.Fatal(err)
	}
	b.activity()
	b.read()
	return id
}

// underWay has a save of this instance's turn be taken and written, and does f before that is noted.
func (b *bench) underWay(id int32, f func()) {
	b.t.Helper()
	b.saveMu.Lock()
	defer b.saveMu.Unlock()
	v, err := b.dispatcher.takeSaving(&round{turn: turnOf(id)})
	if err != nil {
		b.t.Fatal(err)
	}
	if n := len(v.slots) + len(v.passed); n != 1 {
		b.t.Fatalf("%d cursors are written, want one", n)
	}
	f()
	b.inSession(func() {
		saved, err := b.write(b.t.Context(), b.session.Load(), v)
		if err != nil || !saved[id] {
			b.t.Fatalf("written: %v, error: %v", saved, err)
		}
		b.dispatcher.noteSaved(v, saved)
	})
}

func TestRelease_WaitsForASaveThatWritesTheCursor(t *testing.T) {
	b := newBench(t)
	id := b.passed("idle.example")
	var given atomic.Int64
	h := newHandover(b.engine, func([]int32) {
		given.Store(b.cursorOf(id))
	})
	h.passed[id] = true
	head := b.dispatcher.count().head
	b.underWay(id, func() {
		b.beside(func() {
			h.stop([]int32{id})
			h.giveUp(t.Context())
		})
	})
	b.until("it is given up", func() bool { return given.Load() != 0 })
	if at := given.Load(); at != head {
		t.Errorf("given up while its cursor was at %d: a save moves it to %d behind the unlock", at, head)
	}
}

func TestReload_StateThatASaveIsAboutToChangeIsReadAgain(t *testing.T) {
	b := newBench(t)
	id := b.passed("idle.example")
	b.underWay(id, func() {
		read := b.dispatcher.expect([]int32{id}, true)
		slots, err := b.readSlots(t.Context(), read.ids, true)
		if err != nil {
			t.Fatal(err)
		}
		if again := b.dispatcher.add(read, slots); !slices.Equal(again, []int32{id}) {
			t.Errorf("begins anew with a state that is about to change; to be read again: %v", again)
		}
	})
}
