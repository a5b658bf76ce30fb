package outcomes

import (
	"math"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

func noProxy(*url.URL) (*url.URL, error) { return nil, nil }

// inTurn gives one answer after the other, and the last one for ever.
func inTurn(answers ...fediverse.Answer) fediverse.Answer {
	var asked atomic.Int64
	return func(x *fediverse.Exchange) {
		answers[min(int(asked.Add(1)), len(answers))-1](x)
	}
}

// times is an answer n times, for inTurn.
func times(n int, answer fediverse.Answer) []fediverse.Answer {
	return slices.Repeat([]fediverse.Answer{answer}, n)
}

// until gives the answer before a time of the virtual clock, and then another.
func (r *rig) until(end time.Duration, answer, then fediverse.Answer) fediverse.Answer {
	return func(x *fediverse.Exchange) {
		if r.elapsed() < end {
			answer(x)
		} else {
			then(x)
		}
	}
}

// only gives the answer to one activity, and 202 to the others.
func only(id int64, answer fediverse.Answer) fediverse.Behaviour {
	return fediverse.PerActivity(func(name string) fediverse.Answer {
		if name == nameOf(id) {
			return answer
		}
		return nil
	})
}

// wantTries compares all deliveries with sentences such as "1m30s #1 429 throttled".
func (r *rig) wantTries(want ...string) {
	r.Helper()
	r.wantTriesOf(r.tries, want...)
}

func (r *rig) wantTriesOf(tries []try, want ...string) {
	r.Helper()
	var got []string
	for _, y := range tries {
		got = append(got, y.String())
	}
	if !slices.Equal(got, want) {
		r.Errorf("the deliveries are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// triesOf are those of one activity.
func (r *rig) triesOf(id int64) (tries []try) {
	for _, y := range r.tries {
		if y.id == id {
			tries = append(tries, y)
		}
	}
	return tries
}

// roundsFrom are the sizes of the rounds from a delivery on.
func (r *rig) roundsFrom(try int) []int {
	for i, n := range r.rounds {
		if try <= 0 {
			return r.rounds[i:]
		}
		try -= n
	}
	return nil
}

// pauses are the times between tries.
func pauses(tries []try) (between []time.Duration) {
	for i := 1; i < len(tries); i++ {
		between = append(between, tries[i].at-tries[i-1].at)
	}
	return between
}

// backoff is the pause after the nth failure, without jitter.
func backoff(n int) time.Duration {
	return min(time.Duration(math.Pow(1.25, float64(n-1))*float64(time.Second)), day)
}

// wantBackoff compares the pauses with those after the nth failure and the ones that follow.
func (r *rig) wantBackoff(got []time.Duration, n int) {
	r.Helper()
	for i, pause := range got {
		want := backoff(n + i)
		if pause < want || pause > min(want+want/10, day) {
			r.Errorf("the pause after failure %d is %s, want %s and at most a tenth more", n+i, pause, want)
		}
	}
}

// wantAllDelivered says that every activity but some is where it should be, once and in order, that no request was one
// that a strict server refuses, and that nothing is left to do.
func (r *rig) wantAllDelivered(but ...int64) {
	r.Helper()
	expected := fediverse.Expected{}
	for _, a := range r.all {
		for _, inbox := range a.inboxes {
			if !slices.Contains(but, a.id) {
				expected.Add(inbox.URL, nameOf(a.id))
			}
		}
	}
	r.wantVerdict(expected)
	r.wantSettled()
}

func (r *rig) wantVerdict(expected fediverse.Expected) {
	r.Helper()
	verdict := r.net.Ledger().Verdict(expected, func(name string) (string, int64) {
		n := numberOf(name)
		return r.all[n-1].object, int64(n)
	})
	if verdict.Lost+verdict.Twice+verdict.Unexpected+verdict.OutOfOrder+verdict.Violations > 0 {
		r.Errorf("%s\n  %s", verdict, strings.Join(verdict.Examples, "\n  "))
	}
}

// wantSettled says that the cursor is at the end, and nothing is in flight or waiting.
func (r *rig) wantSettled() {
	r.Helper()
	wantEqual(r, "the cursor", r.Cursor(), int64(len(r.all)))
	wantEqual(r, "what is not offered", len(r.backlog), 0)
	wantEqual(r, "idle", r.Idle(), true)
}

// wantLetters compares the dead letters with their activities.
func (r *rig) wantLetters(ids ...int64) []worker.Letter {
	r.Helper()
	var got []int64
	for _, l := range r.letters {
		got = append(got, l.ActivityID)
	}
	if !slices.Equal(got, ids) {
		r.Errorf("the dead letters are %v, want those of %v", r.letters, ids)
	}
	return r.letters
}

// wantReason looks for words in what the operator reads.
func wantReason(t testing.TB, reason string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(reason, word) {
			t.Errorf("the reason %q does not say %q", reason, word)
		}
	}
	if reason == "" || len([]rune(reason)) > 200 || strings.ContainsAny(reason, "\r\n\x1b") {
		t.Errorf("the reason %q is not one line for a person", reason)
	}
}

func wantEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantReasonWithout(t testing.TB, reason, secret string) {
	t.Helper()
	if strings.Contains(reason, secret) {
		t.Errorf("the reason %q says %q", reason, secret)
	}
}
