package outcomes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

func TestGone_ASharedInboxThatSaysItThreeTimesIsDeadAndProbedOnceADay(t *testing.T) {
	t.Parallel()
	for _, code := range []int{410, 418} {
		r := newRig(t, deliver.Config{})
		r.toad.SetAnswer(fediverse.Status(code))
		for range 20 {
			r.insert(activity{object: "https://sender.example/notes/1"})
		}
		r.runTries(2)
		wantEqual(t, "dead after two", r.Dead(r.now()), false)
		r.runTries(3)
		wantEqual(t, "dead after three", r.Dead(r.now()), true)
		wantEqual(t, "state", r.Status(r.now()).Word, worker.WordDead)
		r.wantBackoff(pauses(r.tries), 1)
		died := r.elapsed()

		r.run(died + 10*day - 1)
		wantEqual(t, "deliveries to a dead one in ten days", len(r.tries), 3+9)
		for i, pause := range pauses(r.tries[2:]) {
			wantEqual(t, fmt.Sprint("probe ", i), pause, day)
		}
		wantEqual(t, "the cursor of a dead one", r.Cursor(), 0)

		r.toad.SetAnswer(fediverse.OK)
		r.run(died + 10*day)
		wantEqual(t, "dead after a success", r.Dead(r.now()), false)
		wantEqual(t, "failures after a success", r.State().FailCount, 0)
		r.wantAllDelivered() // at once
		r.wantLetters()
	}
}

func TestGone_ADeadOneThatComesBackIsNotFlooded(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(day, fediverse.Gone, fediverse.OK))
	r.insertEvery(time.Hour, 60)
	r.run(30 * day)
	at := slices.IndexFunc(r.tries, func(y try) bool { return y.outcome.Class == worker.Delivered })
	// What was inserted in the first day, one an hour.
	if got, want := r.roundsFrom(at)[:7], []int{1, 2, 3, 4, 5, 6, 4}; !slices.Equal(got, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", got, want)
	}
	r.wantAllDelivered()
}

func TestGone_TwiceADayIsAFailureLikeOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	// Twice at the start and twice 25 h later, which is not three times in 24 h.
	r.toad.SetAnswer(r.until(2*time.Second, fediverse.Gone,
		r.until(25*time.Hour, fediverse.Status(502), inTurn(fediverse.Gone, fediverse.Gone, fediverse.OK))))
	r.insert(activity{})
	r.run(10 * day)
	said := 0
	for _, y := range r.tries {
		if y.outcome.Class == worker.Gone {
			said++
		}
	}
	wantEqual(t, "how often it said that it is gone", said, 4)
	r.wantBackoff(pauses(r.tries), 1)
	r.wantAllDelivered()
}

func TestGone_ASuccessBetweenForgetsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(fediverse.Gone, fediverse.Gone, fediverse.OK, fediverse.Gone, fediverse.Gone, fediverse.OK))
	r.insert(activity{})
	r.insert(activity{at: time.Hour})
	r.run(day)
	wantEqual(t, "deliveries", len(r.tries), 6)
	r.wantAllDelivered()
}

func TestGone_AWholeWindowOf410CountsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(time.Second, fediverse.Gone, fediverse.OK))
	r.insertEvery(0, 8)
	r.runUntil(day, func() bool { return len(r.rounds) == 1 })
	wantEqual(t, "deliveries", len(r.tries), 4)
	wantEqual(t, "dead", r.Dead(r.now()), false)
	r.run(time.Minute)
	r.wantAllDelivered()
}

func TestGone_SurvivesRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(6, fediverse.Gone), fediverse.OK)...))
	r.insert(activity{})
	for n := range 7 {
		r.runTries(n + 1)
		r.restart()
	}
	for i, pause := range pauses(r.tries[2:]) {
		wantEqual(t, fmt.Sprint("probe ", i), pause, day)
	}
	r.wantAllDelivered()
}

func TestGone_OneActorsInboxIsRefused(t *testing.T) {
	t.Parallel()
	for _, code := range []int{410, 418} {
		r := newRig(t, deliver.Config{})
		r.toad.SetBehaviour(fediverse.PerInbox(func(path string) fediverse.Answer {
			if path == "/users/bob/inbox" {
				return fediverse.Status(code)
			}
			return nil
		}))
		for range 10 {
			r.insert(activity{inboxes: []worker.Inbox{{URL: "https://toad.example/users/bob/inbox"}}})
		}
		r.insert(activity{})
		r.run(365 * day)
		wantEqual(t, "deliveries", len(r.tries), 11)
		for _, y := range r.tries {
			wantEqual(t, y.String(), y.at, 0)
		}
		wantEqual(t, "dead", r.Dead(r.now()), false)
		wantEqual(t, "failures", r.State().FailCount, 0)
		r.wantAllDelivered(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		r.wantLetters()
	}
}
