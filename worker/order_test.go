package worker_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

func (i *instance) offerKeys(id int64, keys ...uint64) {
	i.Offer(worker.Job{Activity: activity(id, keys...), Inboxes: job(id).Inboxes})
}

func TestOrder_ConflictingOnesGoOneAfterTheOther(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offerKeys(1, 1)
	i.offerKeys(2, 1)
	i.offerKeys(3, 2)
	i.offerKeys(4, 1, 2)
	first := i.start(1)
	third := i.start(3)
	i.waits()
	if got := i.Status(i.now); got.Blocked != 2 || got.Pending != 4 || got.InFlight != 2 {
		t.Errorf("status is %+v", got)
	}
	if !i.NextAt(i.now).IsZero() {
		t.Error("NextAt names a time, but only Done helps")
	}
	i.done(first, failed)
	i.now = i.now.Add(time.Minute)
	i.done(third, delivered)
	i.try(1, delivered)
	i.try(2, refused)
	i.try(4, delivered)
	i.wantCursor(4)
}

func TestOrder_AConflictLastsUntilEveryInboxIsSettled(t *testing.T) {
	i := newInstance(t, worker.State{})
	inboxes := []worker.Inbox{{URL: "https://toad.example/u/1/inbox"}, {URL: "https://toad.example/u/2/inbox"}}
	i.Offer(worker.Job{Activity: activity(1, 1), Inboxes: inboxes})
	i.Offer(worker.Job{Activity: activity(2, 1), Inboxes: inboxes})
	one, two := i.start(1), i.start(1)
	i.done(one, delivered)
	i.waits()
	i.done(two, delivered)
	i.start(2)
}

func TestCursor_IsTheEndOfTheSettledPrefix(t *testing.T) {
	i := newInstance(t, worker.State{Cursor: 10})
	i.offer(15, 17)
	i.Pass(20, start.Add(time.Hour))
	i.wantCursor(14)
	d15, d17 := i.start(15), i.start(17)
	i.done(d17, delivered)
	i.wantCursor(14)
	if s := i.State(); s.AheadID != 17 || len(s.Held) != 1 || s.Held[0].ID != 15 {
		t.Errorf("state is %+v", s)
	}
	i.done(d15, delivered)
	i.wantCursor(20)
	s := i.State()
	if s.AheadID != 0 || s.Held != nil || !s.PublishedAt.Equal(start.Add(time.Hour)) || !i.Idle() {
		t.Errorf("state is %+v", s)
	}
	version := i.Version()
	i.Pass(30, time.Time{})
	i.Pass(25, time.Time{})
	i.Offer(job(28))
	i.Offer(worker.Job{Activity: activity(31)})
	if i.Cursor() != 31 || i.Offered() != 31 || i.Version() != version {
		t.Errorf("cursor %d, offered %d: nothing was meant for it", i.Cursor(), i.Offered())
	}
}

func TestCursor_SaysWhenItsLastActivityWasPublished(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(5, 6, 7)
	five, six := i.start(5), i.start(6)
	i.done(six, delivered)
	if s := i.State(); !s.PublishedAt.IsZero() {
		t.Errorf("published at %s although the cursor is %d", s.PublishedAt, s.Cursor)
	}
	i.done(five, delivered)
	if s := i.State(); s.Cursor != 6 || !s.PublishedAt.Equal(start.Add(6*time.Second)) {
		t.Errorf("cursor %d published at %s", s.Cursor, s.PublishedAt)
	}
}

func TestState_RemembersWhatASettledInboxAndAFailureSaid(t *testing.T) {
	const one, two, three = "https://toad.example/u/1/inbox", "https://toad.example/u/2/inbox", "https://toad.example/u/3/inbox"
	i := newInstance(t, worker.State{})
	i.Offer(job(4, one, two, three))
	i.try(4, unauthorized)
	i.try(4, failed)
	i.now = i.now.Add(time.Second * 2)
	i.try(4, delivered)
	text, err := json.Marshal(i.State().Held)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"id":4,"attempts":1,"first_failed":"2026-03-01T12:00:00Z","done":["https://toad.example/u/3/inbox"],` +
		`"tries":[{"inbox":"https://toad.example/u/1/inbox","first_failed":"2026-03-01T12:00:00Z","unauthorized":1},` +
		`{"inbox":"https://toad.example/u/2/inbox","attempts":1,"first_failed":"2026-03-01T12:00:00Z"}]}]`
	if string(text) != want {
		t.Errorf("held is %s", text)
	}
	again := newInstance(t, i.State())
	again.waits()
	if again.Room(again.now) != 0 || again.RedeliveryRoom(again.now) != 0 || again.Idle() || again.Offered() != 4 || !slices.Equal(again.HeldIDs(), []int64{4}) {
		t.Error("something is wanted before the held one is restored")
	}
	again.Restore(job(4, one, two, three))
	if !reflect.DeepEqual(again.State(), i.State()) {
		t.Errorf("state is %+v, want %+v", again.State(), i.State())
	}
	again.now = again.now.Add(time.Hour)
	first, second := again.start(4), again.start(4)
	again.waits()
	if first.Inbox.URL != one || second.Inbox.URL != two || first.Attempt != 2 || second.Attempt != 2 {
		t.Errorf("%+v and %+v start", first, second)
	}
	again.done(first, delivered)
	again.done(second, delivered)
	again.wantCursor(4)
}

func TestState_OfARestartBurnsNoAttempts(t *testing.T) {
	state := worker.State{AheadID: 9, Held: []worker.Held{{ID: 4, Attempts: 7, FirstFailed: start.Add(-time.Hour),
		Tries: []worker.Try{{Inbox: shared, Attempts: 7, FirstFailed: start.Add(-time.Hour)}}}}}
	now := start
	for range 20 {
		now = now.Add(time.Hour)
		i := newInstance(t, state)
		i.now = now
		i.Restore(job(4))
		i.try(4, failed)
		i.wantLetters()
		state = i.State()
	}
	i := newInstance(t, state)
	i.now = now.Add(time.Hour)
	i.Restore(job(4))
	i.offer(10)
	i.try(10, delivered)
	i.try(4, failed)
	if l := i.wantLetters("4 502 Bad Gateway"); l[0].Attempts != 8 {
		t.Errorf("the letter is %+v", l[0])
	}
}

func TestRestore_HeldOnesKeepTheirOrder(t *testing.T) {
	i := newInstance(t, worker.State{Cursor: 1, AheadID: 9, Held: []worker.Held{{ID: 8}, {ID: 2}, {ID: 5}, {ID: 5}, {ID: 1}, {ID: 12}}})
	if got := i.HeldIDs(); !slices.Equal(got, []int64{2, 5, 8}) {
		t.Fatalf("held are %v", got)
	}
	i.offerKeys(12, 1)
	restore := func(id int64) { i.Restore(worker.Job{Activity: activity(id, 1), Inboxes: job(id).Inboxes}) }
	restore(8)
	restore(2)
	restore(3)
	i.waits()
	if s := i.State(); len(s.Held) != 3 || s.AheadID != 9 {
		t.Errorf("state is %+v", s)
	}
	i.RestoreGone(5)
	i.RestoreGone(5)
	for _, id := range []int64{2, 8, 12} {
		d := i.start(id)
		i.waits()
		i.done(d, delivered)
	}
	i.wantCursor(12)
}

func TestRestore_WhatIsNotMeantAnyMoreIsSettled(t *testing.T) {
	i := newInstance(t, worker.State{AheadID: 9, Held: []worker.Held{{ID: 8, Done: []string{shared}}, {ID: 2}}})
	i.Restore(worker.Job{Activity: activity(2)})
	i.Restore(job(8))
	i.wantCursor(9)
}

func TestRedelivery_ComesAfterWhatIsNewAndMovesNoCursor(t *testing.T) {
	i := newInstance(t, worker.State{Cursor: 10})
	room := i.RedeliveryRoom(i.now)
	i.Offer(redelivery(3, "https://toad.example/u/1/inbox", "https://toad.example/u/2/inbox"))
	i.Offer(redelivery(3, "https://toad.example/u/2/inbox"))
	if got := i.RedeliveryRoom(i.now); got != room-1 {
		t.Errorf("room is %d, was %d", got, room)
	}
	i.offer(11)
	i.try(11, delivered)
	i.wantCursor(11)
	if d := i.start(3); !d.Redelivery {
		t.Error("it is no redelivery")
	} else {
		i.done(d, delivered)
	}
	if got := i.TakeRedelivered(); got != nil {
		t.Errorf("settled is %v", got)
	}
	if s := i.State(); s.AheadID != 0 || s.Held != nil {
		t.Errorf("state is %+v", s)
	}
	i.try(3, delivered)
	got := i.TakeRedelivered()
	if len(got) != 1 || got[0].Activity.ID != 3 || len(got[0].Inboxes) != 2 || !i.Idle() {
		t.Errorf("settled is %v", got)
	}
	i.wantLetters()
	i.wantCursor(11)
}

func TestRedelivery_ThatFailsForGoodIsALetterAgain(t *testing.T) {
	for _, c := range []struct {
		outcome  worker.Outcome
		attempts int
	}{{failed, 8}, {refused, 1}, {unusable, 0}, {unauthorized, 7}} {
		i := newInstance(t, worker.State{})
		i.Offer(redelivery(3))
		for tries := 1; ; tries++ {
			i.try(3, c.outcome)
			if done := i.TakeRedelivered(); len(done) > 0 {
				break
			}
			if tries > 10 {
				t.Fatalf("%s: never given up", c.outcome.Reason)
			}
			i.sleep()
		}
		if c.outcome.Class == worker.Retry && i.now.Sub(start) < 15*time.Minute {
			t.Errorf("given up after %s", i.now.Sub(start))
		}
		if l := i.wantLetters("3 " + c.outcome.Reason); l[0].Attempts != c.attempts {
			t.Errorf("the letter is %+v, want %d attempts", l[0], c.attempts)
		}
		i.wantCursor(0)
	}
}
