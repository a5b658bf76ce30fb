package worker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var (
	delivered    = worker.Outcome{Class: worker.Delivered, Status: 202}
	refused      = worker.Outcome{Class: worker.Refused, Status: 404, Reason: "404 Not Found"}
	failed       = worker.Outcome{Class: worker.Retry, Status: 502, Reason: "502 Bad Gateway"}
	unauthorized = worker.Outcome{Class: worker.Unauthorized, Status: 401, Reason: "401 Unauthorized"}
	throttled    = worker.Outcome{Class: worker.Throttled, Status: 429, Reason: "429 Too Many Requests"}
	gone         = worker.Outcome{Class: worker.Gone, Status: 410, Reason: "410 Gone"}
	unusable     = worker.Outcome{Class: worker.Unusable, Reason: "the address is private"}
	canceled     = worker.Outcome{Class: worker.Canceled}
)

const shared = "https://toad.example/inbox"

// instance drives one Worker with a clock of its own.
type instance struct {
	*worker.Worker
	t   testing.TB
	now time.Time
}

func newInstance(t testing.TB, state worker.State) *instance {
	t.Helper()
	return &instance{Worker: worker.New(state, worker.Limits{}, start, 7), t: t, now: start}
}

// activity conflicts with none but those that were given one of the same keys.
func activity(id int64, keys ...uint64) *worker.Activity {
	return &worker.Activity{
		ID: id, PublishedAt: start.Add(time.Duration(id) * time.Second), Footprint: worker.Footprint{Writes: keys},
	}
}

func job(id int64, inboxes ...string) worker.Job {
	j := worker.Job{Activity: activity(id)}
	for _, url := range inboxes {
		j.Inboxes = append(j.Inboxes, worker.Inbox{URL: url})
	}
	if len(inboxes) == 0 {
		j.Inboxes = []worker.Inbox{{URL: shared, Shared: true}}
	}
	return j
}

func redelivery(id int64, inboxes ...string) worker.Job {
	j := job(id, inboxes...)
	j.Redelivery = true
	return j
}

func (i *instance) offer(ids ...int64) {
	for _, id := range ids {
		i.Offer(job(id))
	}
}

// start returns the next delivery, which must be of id.
func (i *instance) start(id int64) worker.Delivery {
	i.t.Helper()
	d, ok := i.Next(i.now)
	if !ok {
		i.t.Fatalf("nothing starts at %s, want %d; it waits until %s", i.now.Sub(start), id, i.NextAt(i.now).Sub(start))
	}
	if d.Activity.ID != id {
		i.t.Fatalf("%d starts, want %d", d.Activity.ID, id)
	}
	return d
}

func (i *instance) startAll() (all []worker.Delivery) {
	for {
		d, ok := i.Next(i.now)
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

func (i *instance) waits() {
	i.t.Helper()
	if d, ok := i.Next(i.now); ok {
		i.t.Fatalf("%d starts at %s, and should wait", d.Activity.ID, i.now.Sub(start))
	}
}

func (i *instance) done(d worker.Delivery, o worker.Outcome) { i.Done(i.now, d, o) }

// try starts id and ends it.
func (i *instance) try(id int64, o worker.Outcome) {
	i.t.Helper()
	i.done(i.start(id), o)
}

// sleep passes the time until something may start, and returns it.
func (i *instance) sleep() time.Duration {
	i.t.Helper()
	i.waits()
	at := i.NextAt(i.now)
	if !at.After(i.now) {
		i.t.Fatalf("NextAt is %s at %s", at, i.now)
	}
	slept := at.Sub(i.now)
	i.now = at.Add(-1)
	i.waits()
	i.now = at
	return slept
}

func (i *instance) wantCursor(want int64) {
	i.t.Helper()
	if got := i.State().Cursor; got != want {
		i.t.Errorf("the cursor is %d, want %d", got, want)
	}
}

func (i *instance) wantLetters(want ...string) []worker.Letter {
	i.t.Helper()
	letters := i.TakeLetters()
	var got []string
	for _, l := range letters {
		got = append(got, fmt.Sprintf("%d %s", l.ActivityID, l.Reason))
	}
	if !slices.Equal(got, want) {
		i.t.Errorf("letters are %q, want %q", got, want)
	}
	return letters
}

func wantAbout(t testing.TB, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/10 {
		t.Errorf("%s is %s, want %s and at most a tenth more", what, got, want)
	}
}
