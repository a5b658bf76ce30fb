package outcomes

import (
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

func TestOutage_OfTwoDaysLosesNothingAndTheReturnIsNoFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetLink(fediverse.Down)
	r.insertEvery(20*time.Minute, 2*24*3) // for two days
	r.run(2 * day)
	wantEqual(t, "the cursor", r.Cursor(), 0)
	wantEqual(t, "dead", r.Dead(r.now()), false)
	r.wantLetters()
	failed := len(r.tries)
	r.wantBackoff(pauses(r.tries), 1) // one delivery a round
	if asked := r.net.Ledger().Refused(domain); asked != failed || failed > 50 {
		t.Errorf("%d connections for %d deliveries in two days", asked, failed)
	}

	r.toad.SetLink(fediverse.Up)
	r.run(3 * day)
	if last := r.tries[len(r.tries)-1].at; last > 2*day+day/2 {
		t.Errorf("delivered at %s only", last)
	}
	want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 8}
	if got := r.roundsFrom(failed); !slices.Equal(got, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", got, want)
	}
	r.wantLetters()
	r.wantAllDelivered()
}

func TestOutage_ThreeDaysWithoutASignOfLifeAreDeathAndADailyProbe(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetLink(fediverse.Down)
	r.insertEvery(4*time.Hour, 20*6)
	r.run(3 * day)
	wantEqual(t, "dead after three days", r.Dead(r.now()), false)
	alive := len(r.tries)
	r.wantBackoff(pauses(r.tries), 1)
	r.run(3*day + 1)
	wantEqual(t, "dead after more", r.Dead(r.now()), true)
	wantEqual(t, "state", r.Status(r.now()).Word, worker.WordDead)

	r.run(20 * day)
	for _, pause := range pauses(r.tries[alive-1:]) {
		wantEqual(t, "pause between probes", pause, day)
	}
	if probes := len(r.tries) - alive; probes < 16 || probes > 17 {
		t.Errorf("%d probes in 17 days", probes)
	}
	wantEqual(t, "the cursor", r.Cursor(), 0)
	r.wantLetters()

	r.toad.SetLink(fediverse.Up)
	probed := len(r.tries)
	r.run(21 * day)
	wantEqual(t, "return", r.tries[probed].at-r.tries[probed-1].at, day)
	wantEqual(t, "dead after a success", r.Dead(r.now()), false)
	wantEqual(t, "failures after a success", r.State().FailCount, 0)
	if got, want := r.roundsFrom(probed)[:6], []int{1, 2, 3, 4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", got, want)
	}
	r.wantLetters()
	r.wantAllDelivered()
}

func TestOutage_WhatADeadInstanceSendsUsRevivesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetLink(fediverse.Down)
	r.insertEvery(0, 10)
	r.run(10*day + time.Hour)
	wantEqual(t, "dead", r.Dead(r.now()), true)
	tried := len(r.tries)

	r.toad.SetLink(fediverse.Up)
	r.Seen(r.now(), r.now())
	wantEqual(t, "dead after a sign of life", r.Dead(r.now()), false)
	r.run(10*day + time.Hour)
	if got, want := r.roundsFrom(tried), []int{1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("the rounds are of %v deliveries, want %v", got, want)
	}
	r.wantAllDelivered() // at once
}

func TestOutage_ARefusalRevivesADeadInstanceToo(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(r.until(10*day, fediverse.Status(500), inTurn(fediverse.Status(403), fediverse.OK)))
	r.insertEvery(0, 2)
	r.run(10 * day)
	wantEqual(t, "dead", r.Dead(r.now()), true)
	r.run(11 * day)
	wantEqual(t, "dead after a refusal", r.Dead(r.now()), false)
	r.wantSettled()
}

func TestOutage_AFirstFailureAfterQuietWeeksIsNoDeath(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(5, fediverse.HangUp), fediverse.OK)...))
	r.insert(activity{at: 30 * day})
	r.run(31 * day)
	r.wantBackoff(pauses(r.tries), 1)
	r.wantAllDelivered()
}

func TestPause_TheCursorStandsStillUntilItEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.insertEvery(2*time.Minute, 40)
	r.run(30 * time.Minute)
	r.PauseUntil(epoch.Add(time.Hour))
	wantEqual(t, "state", r.Status(r.now()).Word, worker.WordPaused)
	r.run(time.Hour - 1)
	wantEqual(t, "the cursor of a paused one", r.Cursor(), 16)
	r.run(time.Hour)
	wantEqual(t, "the cursor when the pause ends", r.Cursor(), 31)
	r.run(day)
	r.wantAllDelivered()
}
