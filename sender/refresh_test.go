package sender

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

// silence takes the triggers away and says so.
func (b *bench) silence() {
	b.t.Helper()
	for _, table := range []string{"instance", "follower", "domain_block", "activity"} {
		b.exec(`alter table fedsender.` + table + ` disable trigger user`)
	}
	b.reopen(map[string]string{"rings": "false"})
}

// refreshNow makes a refresh due and lets the head read until it is in place.
func (b *bench) refreshNow() {
	b.t.Helper()
	b.refreshing.due = time.Now()
	b.read() // begins it
	b.until("the refresh is in place", func() bool {
		b.read()
		return b.refreshing.cancel == nil
	})
}

func TestRefresh_WithoutTriggersWhoFollowsAndIsBlockedIsFoundAllTheSame(t *testing.T) {
	b := newBench(t)
	blocked := b.instance("blocked.example")
	b.read()
	if err := b.Acquired(t.Context(), []int32{blocked}); err != nil {
		t.Fatal(err)
	}
	b.silence()
	id := b.instance("a.example")
	b.exec(`insert into fedsender.domain_block (domain) values ('blocked.example')`)
	b.read()
	if _, known := b.index.Instance(id); known {
		t.Fatal("the triggers are not away")
	}
	b.refreshNow()
	if _, known := b.index.Instance(id); !known || b.index.Stats().Pairs != 2 {
		t.Errorf("the instance is known: %t; %d pairs, want 2", known, b.index.Stats().Pairs)
	}
	b.dispatcher.change([]int32{blocked}, func(s *slot, now time.Time) {
		if !s.blocked {
			t.Error("the block is not obeyed")
		}
	})
	if wait := time.Until(b.refreshing.due); wait < refreshEvery-5*time.Second {
		t.Errorf("the next refresh is due in %s", wait)
	}
}

func TestRefresh_WithoutTriggersNewInstancesBeginBeforeWhatIsForThem(t *testing.T) {
	b := newBench(t)
	b.silence()
	var named, found int32
	b.scan(&named, `insert into fedsender.instance (domain) values ('named.example') returning id`)
	b.activityTo("https://named.example/inbox")
	b.read()
	b.exec(`update fedsender.feed set horizon = 100`) // all of it was dealt with before the lease is taken
	found = b.instance("found.example")
	b.exec(`update fedsender.feed set horizon = 1`)
	b.refreshNow()
	b.exec(`update fedsender.feed set horizon = 100`)
	for id, want := range map[int32]int64{named: 0, found: 1} {
		if err := b.Acquired(t.Context(), []int32{id}); err != nil {
			t.Fatal(err)
		}
		b.dispatcher.change([]int32{id}, func(s *slot, _ time.Time) {
			if s.savedCursor != want {
				t.Errorf("instance %d begins at %d, want %d", id, s.savedCursor, want)
			}
		})
	}
}

func TestRefresh_ChangesThatCameMeanwhileStay(t *testing.T) {
	b := newBench(t)
	b.reopen(map[string]string{"rings": "false"})
	b.read()
	b.beginRefresh(t.Context())
	b.until("it is read", func() bool { return len(b.refreshing.result) == 1 })
	id := b.instance("a.example")
	b.exec(`insert into fedsender.domain_block (domain) values ('b.example')`)
	batch, err := b.head.feed.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.apply(t.Context(), b.head.feed, &batch.Changes); err != nil {
		t.Fatal(err)
	}
	if err := b.refresh(t.Context()); err != nil || b.refreshing.cancel != nil {
		t.Fatal("the refresh is not in place", err)
	}
	if _, known := b.index.Instance(id); !known || b.index.Stats().Pairs != 1 {
		t.Errorf("the instance is known: %t; %d pairs, want 1", known, b.index.Stats().Pairs)
	}
}

func TestRefresh_LoadEndsOneThatIsUnderWay(t *testing.T) {
	b := newBench(t)
	b.reopen(map[string]string{"rings": "false"})
	b.beginRefresh(t.Context())
	if err := b.load(t.Context(), b.head.feed); err != nil {
		t.Fatal(err)
	}
	if b.refreshing.cancel != nil {
		t.Error("two loads at once")
	}
}

func TestRefresh_WithTriggersNothingButTheSourceIsRead(t *testing.T) {
	b := newBench(t)
	b.beginRefresh(t.Context())
	b.until("it is read", func() bool { return len(b.refreshing.result) == 1 })
	if found := <-b.refreshing.result; found.err != nil || found.loaded.index != nil {
		t.Errorf("read %+v, %v", found.loaded, found.err)
	}
	b.abandonRefresh()
}

func TestRefresh_NoticesTriggersThatCameAndWent(t *testing.T) {
	b := newBench(t)
	b.exec(fleet.Source(map[string]string{"rings": "false"}))
	b.refreshNow()
	if b.head.rings() {
		t.Error("the bell is relied on although nobody rings it")
	}
	b.exec(fleet.Source(nil))
	b.refreshNow()
	if rings := b.head.rings(); rings == b.head.feed.Prepares() {
		t.Errorf("the bell is relied on: %t", rings)
	}
}

func TestPace_WithoutTriggersActivitiesAreLookedForEvery100ms(t *testing.T) {
	b := newBench(t)
	b.silence()
	b.head.active = time.Now().Add(-time.Minute)
	for range 3 {
		wait, err := b.head.pace(t.Context(), &pg.Batch{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if wait != bellessPoll {
			t.Errorf("the next look is in %s, want %s", wait, bellessPoll)
		}
	}
}
