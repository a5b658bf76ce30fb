package worker_test

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

func TestDelivered_SettlesAndMovesTheCursor(t *testing.T) {
	i := newInstance(t, worker.State{Cursor: 3, Throttles: 2, FailCount: 2, GoneAt: []time.Time{start}})
	i.offer(5)
	i.try(5, delivered)
	i.wantCursor(5)
	s := i.State()
	if s.FailCount != 1 || s.Throttles != 0 || !s.LastSuccessAt.Equal(start) || len(s.GoneAt) != 0 {
		t.Errorf("state is %+v", s)
	}
	if !s.PublishedAt.Equal(start.Add(5 * time.Second)) {
		t.Errorf("published at %s", s.PublishedAt)
	}
}

func TestRefused_SettlesAndShowsThatTheInstanceIsUp(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 3, Throttles: 1})
	i.offer(1)
	i.try(1, refused)
	i.wantCursor(1)
	i.wantLetters()
	s := i.State()
	if s.FailCount != 2 || s.Throttles != 1 || !s.LastSuccessAt.IsZero() {
		t.Errorf("state is %+v", s)
	}
	if s.LastError != "404 Not Found" || s.LastHTTPStatus != 404 || !s.LastErrorAt.Equal(start) {
		t.Errorf("the last error is %q %d %s", s.LastError, s.LastHTTPStatus, s.LastErrorAt)
	}
}

func TestRetry_WaitsLongerWithEachRoundUpToADay(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	want := time.Second
	for n := 1; n <= 60; n++ {
		i.try(1, failed)
		got := i.sleep()
		if want < 24*time.Hour {
			wantAbout(t, "the pause", got, want)
		} else if got != 24*time.Hour {
			t.Errorf("after %d failures the pause is %s", n, got)
		}
		want = min(want*5/4, 24*time.Hour)
		if s := i.State(); s.FailCount != n {
			t.Fatalf("the fail count is %d after %d failures", s.FailCount, n)
		}
		i.Seen(i.now, i.now)
	}
	i.wantLetters()
	i.wantCursor(0)
}

func TestRetry_OneRoundOfFailuresCountsOnce(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2, 3, 4, 5)
	round := i.startAll()
	if len(round) != 4 {
		t.Fatalf("%d start, want 4", len(round))
	}
	for _, d := range round {
		i.done(d, failed)
		i.now = i.now.Add(100 * time.Millisecond)
	}
	s := i.State()
	if s.FailCount != 1 || !s.LastRetryAt.Equal(start) {
		t.Errorf("the fail count is %d, last failure at %s", s.FailCount, s.LastRetryAt)
	}
	if got := i.Status(i.now).Window; got != 2 {
		t.Errorf("the window is %d, want 2", got)
	}
	i.sleep()
	for _, d := range i.startAll() {
		i.done(d, failed)
	}
	if s := i.State(); s.FailCount != 2 {
		t.Errorf("the fail count is %d after the second round", s.FailCount)
	}
}

func TestRetry_TheInstanceIsTriedWithAnotherActivity(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 10, LastRetryAt: start.Add(-24 * time.Hour)})
	i.offer(1)
	i.try(1, failed)
	i.sleep()
	if got := i.Room(i.now); got != 1 {
		t.Fatalf("room is %d: without another activity nothing tells whether the instance fails or this one", got)
	}
	i.offer(2)
	i.try(2, delivered)
	i.try(1, failed)
	if s := i.State(); s.FailCount != 11 || s.AheadID != 2 || len(s.Held) != 1 || s.Held[0].Attempts != 2 {
		t.Errorf("state is %+v", s)
	}
}

func TestRetry_AnActivityThatFailsWhileOthersAreTakenIsGivenUp(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	i.try(1, failed)
	next := int64(2)
	tries := 1
	for ; tries < 20; tries++ {
		i.now = i.now.Add(2 * time.Second)
		i.offer(next)
		i.try(next, delivered)
		next++
		i.sleep()
		i.try(1, failed)
		if len(i.State().Held) == 0 {
			break
		}
	}
	letters := i.wantLetters("1 502 Bad Gateway")
	if tries+1 != 8 || len(letters) == 1 && letters[0].Attempts != 8 {
		t.Errorf("given up after %d tries: %+v", tries+1, letters)
	}
	took := i.now.Sub(start)
	if took < 15*time.Minute || took > 20*time.Minute {
		t.Errorf("given up after %s", took)
	}
	if l := letters[0]; !l.FirstAt.Equal(start) || !l.LastAt.Equal(i.now) || l.HTTPStatus != 502 || l.Inbox != shared {
		t.Errorf("the letter is %+v", l)
	}
	i.wantCursor(next - 1)
}

func TestRetry_EightTriesInAHurryAreNotEnough(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	i.try(1, failed)
	for id := int64(2); id < 12; id++ {
		i.now = i.now.Add(time.Second)
		i.offer(id)
		i.RetryNow()
		for _, d := range i.startAll() {
			o := delivered
			if d.Activity.ID == 1 {
				o = failed
			}
			i.done(d, o)
		}
	}
	i.wantLetters()
	i.offer(12)
	i.now = i.now.Add(time.Hour)
	i.try(1, failed)
	i.wantLetters("1 502 Bad Gateway")
}

func TestRetry_AnInstanceThatIsDownLosesNothing(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2, 3)
	for range 200 {
		for _, d := range i.startAll() {
			i.done(d, failed)
		}
		i.now = latest(i.NextAt(i.now), i.now)
	}
	i.wantLetters()
	i.wantCursor(0)
	i.now = i.now.Add(48 * time.Hour)
	for range 3 {
		for _, d := range i.startAll() {
			i.done(d, delivered)
		}
	}
	i.wantCursor(3)
}

func TestUnauthorized_IsTriedSixTimesMoreThenRefused(t *testing.T) {
	i := newInstance(t, worker.State{FailCount: 1, LastRetryAt: start.Add(-time.Hour)})
	i.offer(1)
	i.try(1, unauthorized)
	for _, want := range []time.Duration{5, 15, 45, 135, 405, 1215} {
		if got := i.sleep(); got != want*time.Second {
			t.Errorf("the pause is %s, want %ds", got, want)
		}
		i.wantCursor(0)
		i.try(1, unauthorized)
	}
	i.wantCursor(1)
	i.wantLetters()
	if s := i.State(); s.FailCount != 0 || s.LastHTTPStatus != 401 {
		t.Errorf("state is %+v", s)
	}
}

func TestUnauthorized_OthersGoOn(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	i.try(1, unauthorized)
	i.try(2, delivered)
	i.wantCursor(0)
}

func TestThrottled_PausesTheInstanceAsTold(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	o := throttled
	o.RetryAfter = 90 * time.Second
	i.try(1, o)
	if got := i.sleep(); got != 90*time.Second {
		t.Errorf("the pause is %s", got)
	}
	s := i.State()
	if s.FailCount != 0 || s.Throttles != 1 || len(s.Held) != 0 {
		t.Errorf("state is %+v", s)
	}
	if d := i.start(1); d.Attempt != 1 {
		t.Errorf("it is attempt %d", d.Attempt)
	}
	i.waits() // the window is one
}

func TestThrottled_WithoutATimeDoublesFromAMinuteToAnHour(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		i.try(1, throttled)
		if got := i.sleep(); got != want*time.Minute {
			t.Errorf("pause %d is %s, want %dm", n, got, want)
		}
	}
	i.try(1, delivered)
	if s := i.State(); s.Throttles != 0 || s.FailCount != 0 {
		t.Errorf("state is %+v", s)
	}
}

func TestThrottled_AsksForNextToNothingEachTimeAndWaitsLonger(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	o := throttled
	o.RetryAfter = time.Second
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600} {
		i.try(1, o)
		if got := i.sleep(); got != want*time.Second {
			t.Errorf("pause %d is %s, want %ds", n, got, want)
		}
	}
	i.try(1, delivered)
	i.try(2, o)
	if got := i.sleep(); got != time.Second {
		t.Errorf("the pause after a success is %s", got)
	}
}

func TestThrottled_ARoundCountsOnce(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2, 3, 4)
	for _, d := range i.startAll() {
		i.done(d, throttled)
	}
	if s := i.State(); s.Throttles != 1 || !s.NotBefore.Equal(start.Add(time.Minute)) {
		t.Errorf("throttles %d until %s", s.Throttles, s.NotBefore)
	}
}

func TestGone_ThreeTimesFromTheSharedInboxIsDead(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	i.try(1, gone)
	wantAbout(t, "the pause", i.sleep(), time.Second)
	i.try(1, gone)
	i.sleep()
	if i.Dead(i.now) {
		t.Fatal("dead after two")
	}
	i.try(1, gone)
	if s := i.State(); !s.Gone || !i.Dead(i.now) || len(s.GoneAt) != 3 {
		t.Errorf("state is %+v", s)
	}
	if got := i.sleep(); got != 24*time.Hour {
		t.Errorf("probed after %s", got)
	}
	i.wantCursor(0)
	i.try(1, delivered)
	if s := i.State(); s.Gone || i.Dead(i.now) || s.FailCount != 0 || len(s.GoneAt) != 0 {
		t.Errorf("not revived by a success: %+v", s)
	}
}

func TestGone_CountsOnceARoundAndForADay(t *testing.T) {
	i := newInstance(t, worker.State{GoneAt: []time.Time{start.Add(-25 * time.Hour), start.Add(-24 * time.Hour)}})
	i.offer(1, 2, 3, 4)
	for _, d := range i.startAll() {
		i.done(d, gone)
	}
	if s := i.State(); s.Gone || len(s.GoneAt) != 1 {
		t.Errorf("gone %v at %v", s.Gone, s.GoneAt)
	}
}

func TestGone_FromOneActorsInboxIsRefused(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.Offer(job(1, "https://toad.example/u/1/inbox"))
	i.try(1, gone)
	i.wantCursor(1)
	i.wantLetters()
	if s := i.State(); len(s.GoneAt) != 0 || s.FailCount != 0 {
		t.Errorf("state is %+v", s)
	}
}

func TestUnusable_IsALetterAtOnceAndTheNeighboursGoOn(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.Offer(job(1, "javascript:alert(1)", "https://toad.example/u/2/inbox"))
	i.try(1, unusable)
	l := i.wantLetters("1 the address is private")
	if l[0].Attempts != 0 || l[0].Inbox != "javascript:alert(1)" || !l[0].FirstAt.Equal(start) {
		t.Errorf("the letter is %+v", l[0])
	}
	i.wantCursor(0)
	i.try(1, delivered)
	i.wantCursor(1)
	if s := i.State(); s.FailCount != 0 {
		t.Errorf("the fail count is %d", s.FailCount)
	}
}

func TestCanceled_IsNoAttempt(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1)
	before := i.Version()
	i.try(1, canceled)
	if i.Version() != before {
		t.Error("there is something to save")
	}
	if d := i.start(1); d.Attempt != 1 {
		t.Errorf("it is attempt %d", d.Attempt)
	}
}

func TestDone_TwiceIsIgnored(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.Offer(job(1, "https://toad.example/u/1/inbox", "https://toad.example/u/2/inbox"))
	d := i.start(1)
	i.done(d, failed)
	i.done(d, delivered)
	if s := i.State(); s.FailCount != 1 || i.InFlight() != 0 || len(s.Held) != 0 {
		t.Errorf("state is %+v", s)
	}
	i.Done(i.now, worker.Delivery{}, delivered)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
