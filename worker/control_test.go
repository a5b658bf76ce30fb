package worker_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/fedsender/fedsender/worker"
)

// silent has not been heard of for four days, and every try failed.
func silent() worker.State {
	return worker.State{FailCount: 55, LastRetryAt: start.Add(-time.Hour), LastSuccessAt: start.Add(-96 * time.Hour)}
}

func newSilent(t testing.TB, state worker.State) *instance {
	t.Helper()
	return &instance{Worker: worker.New(state, worker.Limits{}, start.Add(-100*24*time.Hour), 7), t: t, now: start}
}

func TestDead_IsProbedOnceADayWithOneDelivery(t *testing.T) {
	i := newSilent(t, silent())
	i.offer(1, 2)
	if got := i.Status(i.now); got.Word != worker.WordDead || got.Window != 1 {
		t.Fatalf("status is %+v", got)
	}
	if got := i.sleep(); got != 23*time.Hour {
		t.Errorf("the first probe is after %s", got)
	}
	i.try(1, failed)
	for range 5 {
		if got := i.sleep(); got != 24*time.Hour {
			t.Errorf("the next probe is after %s", got)
		}
		d, _ := i.Next(i.now)
		i.waits()
		i.done(d, failed)
	}
	i.wantLetters()
}

func TestDead_WithoutAFailedTryIsProbedAtOnce(t *testing.T) {
	state := silent()
	state.LastRetryAt = time.Time{}
	i := newSilent(t, state)
	i.offer(1, 2)
	d := i.start(1)
	i.waits()
	i.done(d, failed)
	i.sleep()
}

func TestDead_IsRevivedByAnyAnswerThatShowsLife(t *testing.T) {
	for _, o := range []worker.Outcome{delivered, refused, unauthorized} {
		i := newSilent(t, silent())
		i.offer(1, 2, 3)
		i.sleep()
		i.try(1, o)
		if i.Dead(i.now) {
			t.Errorf("still dead after %s", o.Reason)
		}
		i.start(2)
	}
}

func TestDead_ComesBackWithAWindowOfOneThatGrows(t *testing.T) {
	i := newSilent(t, worker.State{Gone: true, FailCount: 3, LastRetryAt: start.Add(-24 * time.Hour)})
	i.offer(1, 2, 3, 4, 5, 6)
	i.try(1, delivered)
	if got := i.State(); got.Gone || got.FailCount != 0 {
		t.Errorf("state is %+v", got)
	}
	for _, want := range []int{2, 2, 3} {
		if got := i.Status(i.now).Window; got != want {
			t.Errorf("the window is %d, want %d", got, want)
		}
		d, _ := i.Next(i.now)
		i.done(d, delivered)
	}
}

func TestDead_ABigWindowIsForgotten(t *testing.T) {
	i := newInstance(t, worker.State{})
	for id := int64(1); id < 300; id++ {
		i.offer(id)
		i.try(id, delivered)
	}
	i.offer(300, 301, 302)
	for !i.Dead(i.now) {
		for _, d := range i.startAll() {
			i.done(d, gone)
		}
		i.sleep()
	}
	i.now = i.now.Add(time.Second)
	i.Seen(i.now, i.now)
	if got := i.Status(i.now); got.Window != 1 || got.Word != worker.WordOK {
		t.Errorf("status is %+v", got)
	}
}

func TestDead_AParkedDomainThatRefusesStaysGone(t *testing.T) {
	i := newSilent(t, worker.State{Gone: true})
	i.offer(1, 2)
	i.try(1, refused)
	if !i.Dead(i.now) {
		t.Error("revived by a refusal")
	}
}

func TestDead_AFirstFailureAfterQuietDaysIsNoDeath(t *testing.T) {
	i := newSilent(t, worker.State{LastSuccessAt: start.Add(-30 * 24 * time.Hour)})
	i.offer(1)
	i.try(1, failed)
	if i.Dead(i.now) {
		t.Error("dead after one failure")
	}
	wantAbout(t, "the pause", i.sleep(), time.Second)
}

func TestDead_IsWhatSaysNothingForThreeDays(t *testing.T) {
	i := newSilent(t, worker.State{})
	i.offer(1)
	i.Seen(i.now, i.now)
	for !i.Dead(i.now) {
		i.try(1, failed)
		i.sleep()
		if i.now.Sub(start) > 5*24*time.Hour {
			t.Fatal("never dead")
		}
	}
	if silent := i.now.Sub(start); silent < 3*24*time.Hour {
		t.Errorf("dead after %s", silent)
	}
}

func TestSeen_RevivesIfItIsYoungerThanTheLastFailedTry(t *testing.T) {
	for _, c := range []struct {
		name  string
		state worker.State
		at    time.Duration
		want  bool
	}{
		{"silent, seen after the last try", silent(), -time.Minute, true},
		{"silent, seen by a clock that is ahead", silent(), time.Hour, true},
		{"gone, seen after", worker.State{Gone: true, LastRetryAt: start.Add(-time.Hour)}, -time.Minute, true},
		{"gone, seen before", worker.State{Gone: true, LastRetryAt: start.Add(-time.Hour)}, -2 * time.Hour, false},
		{"silent, seen too long ago", worker.State{FailCount: 90, LastRetryAt: start.Add(-6 * 24 * time.Hour), LastSuccessAt: start.Add(-9 * 24 * time.Hour)}, -5 * 24 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newSilent(t, c.state)
			i.offer(1)
			i.Seen(i.now, i.now.Add(c.at))
			s := i.State()
			if i.Dead(i.now) == c.want || c.want && (s.FailCount != 0 || s.Gone) {
				t.Errorf("dead is %v, state %+v", i.Dead(i.now), s)
			}
			if c.want {
				i.start(1)
				i.waits()
			}
		})
	}
}

func TestSeen_OfAnInstanceThatFailsForgetsNothing(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 20, LastRetryAt: start})
	i.now = i.now.Add(time.Second)
	i.Seen(i.now, i.now)
	if s := i.State(); s.FailCount != 20 {
		t.Errorf("the fail count is %d", s.FailCount)
	}
}

func TestNew_RevivesWhatWasSeenWhileNobodyHeldIt(t *testing.T) {
	for _, state := range []worker.State{silent(), {Gone: true, LastRetryAt: start.Add(-time.Hour)}} {
		w := worker.New(state, worker.Limits{}, start.Add(-time.Minute), 7)
		if s := w.State(); w.Dead(start) || s.FailCount != 0 || w.Version() == 0 {
			t.Errorf("state is %+v", s)
		}
		w = worker.New(state, worker.Limits{}, start.Add(-100*time.Hour), 7)
		if !w.Dead(start) {
			t.Errorf("revived by what was seen before: %+v", w.State())
		}
	}
}

func TestPause_StopsEverythingUntilItsEnd(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	d := i.start(1)
	i.PauseUntil(i.now.Add(time.Hour))
	i.waits()
	if i.Room(i.now) != 0 || i.RedeliveryRoom(i.now) != 0 || i.Status(i.now).Word != worker.WordPaused {
		t.Errorf("room %d, status %+v", i.Room(i.now), i.Status(i.now))
	}
	i.done(d, delivered)
	i.wantCursor(1)
	if got := i.sleep(); got != time.Hour {
		t.Errorf("it ends after %s", got)
	}
	i.PauseUntil(i.now.Add(time.Hour))
	i.PauseUntil(time.Time{})
	i.try(2, delivered)
	i.PauseUntil(i.now.Add(time.Hour))
	if got := i.NextAt(i.now); !got.Equal(i.now.Add(time.Hour)) {
		t.Errorf("NextAt is %s: then there is room again", got)
	}
}

func TestRetryNow_ForgetsEveryWait(t *testing.T) {
	for _, o := range []worker.Outcome{failed, unauthorized, throttled} {
		i := newInstance(t, worker.State{})
		i.offer(1)
		i.try(1, o)
		i.waits()
		before := i.Version()
		i.RetryNow()
		if i.Version() == before {
			t.Error("there is nothing to save")
		}
		if d := i.start(1); o.Class == worker.Retry {
			i.done(d, o)
			if got := i.State().FailCount; got != 2 {
				t.Errorf("the fail count is %d", got)
			}
		}
	}
}

func TestRetryNow_TriesARedeliveryToo(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.Offer(redelivery(1))
	i.try(1, unauthorized)
	i.waits()
	i.RetryNow()
	i.start(1)
}

func TestClockSetBack_WaitsNoLongerThanTheLongestPause(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 1, LastRetryAt: start.Add(9000 * time.Hour)})
	i.offer(1)
	wantAbout(t, "the pause", i.sleep(), time.Second)
	i = newInstance(t, worker.State{NotBefore: start.Add(9000 * time.Hour)})
	i.offer(1)
	if got := i.sleep(); got != 24*time.Hour {
		t.Errorf("the pause is %s", got)
	}
}

func TestWindow_GrowsByOneARoundUpToItsLimit(t *testing.T) {
	i := newInstance(t, worker.State{})
	next := int64(1)
	for _, want := range []int{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16} {
		for i.Room(i.now) > 0 {
			i.offer(next)
			next++
		}
		round := i.startAll()
		if len(round) != want || i.InFlight() != want {
			t.Fatalf("%d are in flight, want %d", len(round), want)
		}
		for _, d := range round {
			i.done(d, delivered)
		}
	}
	i.SetMaxWindow(2)
	if got := len(i.startAll()); got != 2 {
		t.Errorf("%d are in flight, want 2", got)
	}
	i.SetMaxWindow(0)
	if got := i.Status(i.now).Window; got != 2 {
		t.Errorf("the window is %d: it must grow again", got)
	}
}

func TestWindow_OfAnInstanceThatFailedStartsWithOne(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 2, LastRetryAt: start.Add(-time.Minute)})
	i.offer(1, 2)
	i.start(1)
	i.waits()
}

func TestRoom_IsForTheWindowAndALookAhead(t *testing.T) {
	i := newInstance(t, worker.State{})
	if got := i.Room(i.now); got != 4+32 {
		t.Fatalf("room is %d", got)
	}
	i.Offer(worker.Job{Activity: activity(1, 9), Inboxes: job(1).Inboxes})
	i.Offer(job(2, "https://toad.example/u/1/inbox", "https://toad.example/u/2/inbox"))
	if got := i.Room(i.now); got != 33 {
		t.Errorf("room is %d, want 33", got)
	}
	for id := int64(3); id < 500; id++ {
		if i.Room(i.now) == 0 {
			if id != 257 {
				t.Errorf("%d are kept, want 256 with those that wait for another", id-1)
			}
			return
		}
		i.Offer(worker.Job{Activity: activity(id, 9), Inboxes: job(id).Inboxes})
	}
	t.Error("room never ends")
}

func TestHungry_IsWhoHasHalfOfTheLookAheadLeft(t *testing.T) {
	i := newInstance(t, worker.State{})
	next := int64(1)
	for i.Room(i.now) > 0 {
		i.offer(next)
		next++
	}
	for !i.Hungry(i.now) {
		if i.Waiting() <= 16 {
			t.Fatalf("not hungry with %d that wait, and room for %d", i.Waiting(), i.Room(i.now))
		}
		d, _ := i.Next(i.now)
		i.done(d, delivered)
	}
	if i.Waiting() != 16 {
		t.Errorf("hungry with %d that wait", i.Waiting())
	}
	i.PauseUntil(i.now.Add(time.Hour))
	if i.Hungry(i.now) {
		t.Error("hungry while paused")
	}
}

func TestHungry_IsWhoIsDownAndHasNothingToTry(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 1, LastRetryAt: start})
	if !i.Hungry(i.now) {
		t.Error("not hungry without anything")
	}
	i.offer(1)
	if i.Hungry(i.now) {
		t.Error("hungry although there is one to try")
	}
	i.sleep()
	i.try(1, failed)
	if !i.Hungry(i.now) {
		t.Error("not hungry where another job could tell whether the instance fails or the job")
	}
}

func TestRoom_OfAnInstanceThatIsDownStaysSmall(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 1, LastRetryAt: start})
	next := int64(1)
	for range 60 {
		room := i.Room(i.now)
		if room > 1 {
			t.Fatalf("room is %d", room)
		}
		for range room {
			i.offer(next)
			next++
			if i.Room(i.now) != 0 {
				t.Fatal("it wants more although there is one to try")
			}
		}
		i.sleep()
		for _, d := range i.startAll() {
			i.done(d, failed)
		}
		i.Seen(i.now, i.now)
	}
	if next-1 != 8 {
		t.Errorf("%d jobs are kept, want 8", next-1)
	}
	i.now = i.now.Add(4 * 24 * time.Hour)
	if i.Room(i.now) != 0 {
		t.Error("a dead one wants more")
	}
	i = newSilent(t, silent())
	i.Offer(worker.Job{Activity: activity(1, 9), Inboxes: job(1).Inboxes})
	i.sleep()
	i.try(1, failed)
	for id := int64(2); id <= 4; id++ {
		if i.Room(i.now) != 1 {
			t.Fatalf("room is %d with %d jobs of which none may start", i.Room(i.now), id-1)
		}
		i.Offer(worker.Job{Activity: activity(id, 9), Inboxes: job(id).Inboxes})
	}
	if i.Room(i.now) != 0 {
		t.Error("a dead one wants more")
	}
}

func TestStatus_SaysWhyNothingStarts(t *testing.T) {
	i := newInstance(t, worker.State{AheadID: 4, Held: []worker.Held{{ID: 2}}})
	if got := i.Status(i.now).Word; got != worker.WordRestoring {
		t.Errorf("word is %q", got)
	}
	i.Restore(job(2))
	if got := i.Status(i.now).Word; got != worker.WordOK {
		t.Errorf("word is %q", got)
	}
	i.try(2, failed)
	got := i.Status(i.now)
	if got.Word != worker.WordFailing || got.FailCount != 1 || got.LastError != failed.Reason || !got.NextTry.Equal(i.NextAt(i.now)) {
		t.Errorf("status is %+v", got)
	}
	i.sleep()
	i.try(2, throttled)
	if got := i.Status(i.now); got.Word != worker.WordThrottled || got.Pending != 1 || got.InFlight != 0 {
		t.Errorf("status is %+v", got)
	}
}

func TestWorker_ThatIsIdleIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(worker.Worker{}); size > 600 {
		t.Errorf("%d bytes", size)
	}
}
