package outcomes

import (
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

func TestBackoff_GrowsByAQuarterUpToADay(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(60, fediverse.Status(502)), fediverse.OK)...))
	r.insert(activity{})
	for n := range 60 {
		r.runTries(n + 1)
		r.Seen(r.now(), r.now()) // it sends us something, so that it is not taken for dead
	}
	r.run(r.elapsed() + day)
	between := pauses(r.tries)
	wantEqual(t, "deliveries", len(r.tries), 61)
	r.wantBackoff(between, 1)
	for n := 52; n <= 60; n++ {
		wantEqual(t, "a pause that has stopped growing", between[n-1], day)
	}
	r.wantAllDelivered()
	r.wantLetters()
}

func TestBackoff_IsNotTheSameForAllInstances(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(fediverse.Status(502))
	r.insert(activity{})
	r.runTries(20)
	shorter := 0
	for i, pause := range pauses(r.tries) {
		if pause < backoff(i+1)*105/100 {
			shorter++
		}
	}
	if shorter < 4 || shorter > 15 {
		t.Errorf("%d of 19 pauses are in the lower half of the jitter", shorter)
	}
}

func TestBackoff_FallsByOneWithEachSuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	bad := fediverse.Status(503)
	r.toad.SetAnswer(inTurn(slices.Concat(times(12, bad), times(4, fediverse.OK), times(3, bad), times(1, fediverse.OK))...))
	for range 5 {
		r.insert(activity{object: "https://sender.example/notes/1"}) // one after the other
	}
	r.run(day)
	wantEqual(t, "deliveries", len(r.tries), 20)
	between := pauses(r.tries)
	r.wantBackoff(between[:12], 1)
	for _, pause := range between[12:16] {
		wantEqual(t, "pause after a success", pause, 0)
	}
	r.wantBackoff(between[16:], 12-4+1)
	wantEqual(t, "failures", r.State().FailCount, 12-4+3-1)
	r.wantAllDelivered()
}

func TestBackoff_GrowsOnceARoundAndTheWindowHalves(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.insertEvery(0, 60)
	r.runUntil(day, func() bool { return len(r.rounds) == 5 })
	r.toad.SetAnswer(fediverse.Status(500))
	from := len(r.tries)
	r.runUntil(day, func() bool { return len(r.rounds) == 11 })
	if want := []int{4, 5, 6, 7, 8, 9, 4, 2, 1, 1, 1}; !slices.Equal(r.rounds, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", r.rounds, want)
	}
	wantEqual(t, "failures", r.State().FailCount, 6)
	var began []try // a round each
	for i, y := range r.tries[from:] {
		if i == 0 || y.at != began[len(began)-1].at {
			began = append(began, y)
		}
	}
	r.wantBackoff(pauses(began), 1)
	r.toad.SetAnswer(fediverse.OK)
	r.run(day)
	r.wantAllDelivered()
	r.wantLetters()
}

func TestBackoff_SurvivesRestartsAndMovesWithTheLease(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(2*time.Minute, fediverse.Status(504), fediverse.OK))
	r.insertEvery(0, 3)
	var rounds []try
	for r.elapsed() < 2*time.Minute {
		before := len(r.tries)
		r.runTries(before + 1)
		rounds = append(rounds, r.tries[before])
		r.restart()
	}
	r.run(day)
	r.wantBackoff(pauses(rounds), 1)
	if failed := len(rounds); failed < 10 {
		t.Errorf("only %d rounds", failed)
	}
	r.wantAllDelivered()
	r.wantLetters()
}

func TestBackoff_AfterARestartTheWindowIsOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(time.Second, fediverse.Status(500), fediverse.OK))
	r.insertEvery(0, 21)
	r.runUntil(day, func() bool { return len(r.rounds) == 1 })
	r.restart()
	r.run(day)
	if want := []int{4, 1, 2, 3, 4, 5, 6}; !slices.Equal(r.rounds, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", r.rounds, want)
	}
	r.wantAllDelivered()
}
