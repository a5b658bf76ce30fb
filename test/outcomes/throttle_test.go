package outcomes

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

func TestThrottle_TheInstancePausesAsLongAsItSays(t *testing.T) {
	t.Parallel()
	// Dates in answers are of the second at which the client's clock stands.
	now := time.Now().Truncate(time.Second)
	in := func(d time.Duration) string { return now.Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		code        int
		name, value string
		pause       time.Duration
	}{
		{429, "Retry-After", "90", 90 * time.Second},
		{429, "Retry-After", " 7 ", 7 * time.Second},
		{429, "Retry-After", in(5 * time.Minute), 5 * time.Minute},
		{429, "Retry-After", now.Add(time.Hour).UTC().Format(time.RFC850), time.Hour},
		{429, "Retry-After", "0", time.Second},
		{429, "Retry-After", in(0), time.Second},
		{429, "Retry-After", in(-365 * day), time.Second},
		{429, "Retry-After", "86400", day},
		{429, "Retry-After", "86401", day},
		{429, "Retry-After", "99999999999999999999999999", day},
		{429, "Retry-After", in(365 * day), day},
		{429, "Retry-After", "-5", time.Minute},
		{429, "Retry-After", "1.5", time.Minute},
		{429, "Retry-After", "soon", time.Minute},
		{429, "Retry-After", "", time.Minute},
		{429, "X-RateLimit-Reset", now.Add(10 * time.Minute).UTC().Format("2006-01-02T15:04:05.000000Z"), 10 * time.Minute},
		{503, "Retry-After", "120", 2 * time.Minute},
		{503, "Retry-After", in(3 * time.Hour), 3 * time.Hour},
		{503, "Retry-After", "0", time.Second},
		{503, "Retry-After", "9999999", day},
	} {
		r := newRig(t, deliver.Config{Now: func() time.Time { return now }})
		r.toad.SetAnswer(inTurn(append(times(2, fediverse.Status(c.code, c.name, c.value)), fediverse.OK)...))
		r.insert(activity{})
		r.runTries(1)
		status := r.Status(r.now())
		wantEqual(t, "state", status.Word, worker.WordThrottled)
		wantEqual(t, "next try", status.NextTry.Sub(epoch), c.pause)
		wantEqual(t, "failures", status.FailCount, 0)
		wantEqual(t, "window", status.Window, 1)
		wantReason(t, status.LastError, fmt.Sprint(c.code))
		r.run(3 * day)
		second := c.pause
		if c.pause == time.Minute && c.value != "60" { // it did not say how long
			second = 2 * time.Minute
		}
		second = max(second, 2*time.Second) // whatever it says again and again, the pause grows
		r.wantTries(
			fmt.Sprintf("0s #1 %d throttled", c.code), fmt.Sprintf("%s #1 %d throttled", c.pause, c.code),
			fmt.Sprintf("%s #1 202 delivered", c.pause+second))
		r.wantAllDelivered()
		r.wantLetters()
	}
}

func TestThrottle_WithoutATimeThePauseDoublesFromAMinuteToAnHour(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	busy := fediverse.Status(429)
	r.toad.SetAnswer(inTurn(slices.Concat(times(9, busy), times(1, fediverse.OK), times(2, busy), times(1, fediverse.OK))...))
	for range 2 {
		r.insert(activity{object: "https://sender.example/notes/1"})
	}
	r.run(day)
	minutes := func(n ...time.Duration) (all []time.Duration) {
		for _, n := range n {
			all = append(all, n*time.Minute)
		}
		return all
	}
	want := slices.Concat(minutes(1, 2, 4, 8, 16, 32, 60, 60, 60), minutes(0), minutes(1, 2))
	if got := pauses(r.tries); !slices.Equal(got, want) {
		t.Errorf("the pauses are %v, want %v", got, want)
	}
	wantEqual(t, "failures", r.State().FailCount, 0)
	r.wantAllDelivered()
	r.wantLetters()
}

func TestThrottle_A503WithoutRetryAfterIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(fediverse.Status(503, "Retry-After", "whenever"), fediverse.Status(503), fediverse.OK))
	r.insert(activity{})
	r.run(day)
	r.wantBackoff(pauses(r.tries), 1)
	wantEqual(t, "failures", r.State().FailCount, 1)
	r.wantAllDelivered()
}

func TestThrottle_StopsTheWholeInstanceAndItComesBackWithAWindowOfOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(time.Minute, fediverse.RetryAfter(429, time.Minute), fediverse.OK))
	r.insertEvery(time.Second, 50) // goes on while the instance pauses
	for range 10 {
		r.insert(activity{at: time.Minute})
	}
	r.run(59 * time.Second)
	r.wantTries("0s #1 429 throttled")
	r.run(time.Hour)
	if want := []int{1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5}; !slices.Equal(r.rounds, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", r.rounds, want)
	}
	for _, y := range r.tries[1:] {
		wantEqual(t, y.String(), y.at, time.Minute)
	}
	r.wantAllDelivered()
}

func TestThrottle_ARoundOf429CountsOnce(t *testing.T) {
	t.Parallel()
	for _, answer := range []fediverse.Answer{fediverse.Status(429), fediverse.RetryAfter(429, time.Minute)} {
		r := newRig(t, deliver.Config{})
		r.toad.SetAnswer(r.until(time.Second, answer, fediverse.OK))
		r.insertEvery(0, 8)
		r.run(time.Second)
		wantEqual(t, "deliveries before the pause", len(r.tries), 4)
		wantEqual(t, "failures", r.State().FailCount, 0)
		r.run(day)
		wantEqual(t, "end of the pause", r.tries[4].at, time.Minute)
		if want := []int{4, 1, 2, 3, 2}; !slices.Equal(r.rounds, want) {
			t.Errorf("the rounds are of %v deliveries, want %v", r.rounds, want)
		}
		r.wantAllDelivered()
	}
}

func TestThrottle_SurvivesRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(fediverse.Status(429), fediverse.Status(429), fediverse.RetryAfter(429, time.Hour), fediverse.OK))
	r.insert(activity{})
	for n := range 4 {
		r.runTries(n + 1)
		r.restart()
	}
	r.run(day)
	r.wantTries("0s #1 429 throttled", "1m0s #1 429 throttled", "3m0s #1 429 throttled", "1h3m0s #1 202 delivered")
	r.wantAllDelivered()
}

func TestThrottle_ForgetsNoFailureAndCountsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(slices.Concat(
		times(10, fediverse.Status(500)), times(1, fediverse.RetryAfter(503, time.Second)),
		times(1, fediverse.Status(500)), times(1, fediverse.OK))...))
	r.insert(activity{})
	r.run(day)
	between := pauses(r.tries)
	r.wantBackoff(between[:10], 1)
	wantEqual(t, "pause that was asked for", between[10], time.Second)
	r.wantBackoff(between[11:], 11)
	r.wantAllDelivered()
}
