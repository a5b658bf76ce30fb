package outcomes

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

const (
	// minTries over minFailing are what it takes to give an activity up that others of the instance show to be bad.
	minTries   = 8
	minFailing = 15 * time.Minute
	// maxFailing is when a busy instance should be rid of it.
	maxFailing = 30 * time.Minute
	// often is how often a busy instance gets another activity.
	often = 10 * time.Second
	// held is how long a bad one may hold up its neighbours at a time: a back-off of the instance.
	held = 5 * time.Second
)

// wantGivenUp looks at the letter of an activity that failed while a busy instance took others.
func (r *rig) wantGivenUp(l worker.Letter, failed []try) {
	r.Helper()
	last := failed[len(failed)-1]
	if l.Attempts < minTries || l.Attempts > len(failed) {
		r.Errorf("given up after %d attempts of %d, want %d or more", l.Attempts, len(failed), minTries)
	}
	if over := l.LastAt.Sub(l.FirstAt); over < minFailing || over > maxFailing {
		r.Errorf("given up after %s, want %s or more, but not more than %s", over, minFailing, maxFailing)
	}
	if pause := failed[1].at - failed[0].at; pause < 2*time.Second || pause > 2200*time.Millisecond {
		r.Errorf("the pause after the first failure is %s, want 2s and at most a tenth more", pause)
	}
	wantEqual(r, "first at", l.FirstAt.Sub(epoch), failed[0].at)
	wantEqual(r, "last at", l.LastAt.Sub(epoch), last.at)
	wantEqual(r, "status", l.HTTPStatus, last.outcome.Status)
	wantEqual(r, "reason", l.Reason, last.outcome.Reason)
}

func TestLetter_TheBadOneAmongGoodOnesIsGivenUpAndTheQueueMovesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Explained(500, "text/plain", "cannot parse this")))
	r.insert(activity{object: "https://sender.example/notes/1"})
	later := r.insert(activity{object: "https://sender.example/notes/1"}) // waits for the bad one
	r.insertEvery(often, int(maxFailing/often))
	r.run(maxFailing)

	bad := r.triesOf(1)
	end := bad[len(bad)-1].at
	for _, l := range r.wantLetters(1) {
		r.wantGivenUp(l, bad)
		wantEqual(t, "reason", l.Reason, "500 Internal Server Error: cannot parse this")
		wantEqual(t, "inbox", l.Inbox, shared)
	}
	for _, y := range r.triesOf(later.id) {
		if y.at < end || y.at > end+held {
			t.Errorf("what waited for it is tried at %s, and it was given up at %s", y.at, end)
		}
	}
	for _, y := range r.tries {
		if a := r.all[y.id-1]; a.id > later.id && y.at-a.at > held {
			t.Errorf("its neighbour %d waited for %s", y.id, y.at-a.at)
		}
	}
	r.wantAllDelivered(1)
	tried := len(r.tries)
	r.run(365 * day)
	wantEqual(t, "tries a year later", len(r.tries), tried)
}

func TestLetter_OneBadInboxOfSeveralIsGivenUpAndTheOthersHaveIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(fediverse.PerInbox(func(path string) fediverse.Answer {
		if path == "/users/bad/inbox" {
			return fediverse.Reset
		}
		return nil
	}))
	good := []worker.Inbox{{URL: "https://toad.example/users/a/inbox"}, {URL: "https://toad.example/users/z/inbox"}}
	bad := worker.Inbox{URL: "https://toad.example/users/bad/inbox"}
	r.insert(activity{inboxes: []worker.Inbox{good[0], bad, good[1]}})
	r.insertEvery(often, int(maxFailing/often))
	r.run(maxFailing)
	var failed []try
	for _, y := range r.triesOf(1) {
		if y.outcome.Class == worker.Retry {
			failed = append(failed, y)
		}
	}
	wantEqual(t, "deliveries to the good inboxes", len(r.triesOf(1))-len(failed), 2)
	for _, l := range r.wantLetters(1) {
		r.wantGivenUp(l, failed)
		wantEqual(t, "inbox", l.Inbox, bad.URL)
	}
	r.all[0].inboxes = good
	r.wantAllDelivered()
}

func TestLetter_AQuietInstanceNeedsAsManyProofsThatItIsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(500)))
	r.insertEvery(3*time.Hour, 12)
	r.run(20 * time.Hour)
	r.wantLetters()
	r.run(2 * day)
	for _, l := range r.wantLetters(1) {
		wantEqual(t, "attempts", l.Attempts, minTries)
		if over := l.LastAt.Sub(l.FirstAt); over < 7*3*time.Hour {
			t.Errorf("given up after %s, in which the instance took less than 7 others", over)
		}
	}
	r.wantAllDelivered(1)
}

func TestLetter_AnActivityThatIsTakenAtLastIsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, r.until(minFailing, fediverse.Status(502), fediverse.OK)))
	r.insertEvery(often, int(maxFailing/often))
	r.run(maxFailing)
	r.wantLetters()
	r.wantAllDelivered()
}

func TestLetter_ARestartNeitherForgetsTriesNorAddsSome(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(500)))
	r.insertEvery(2*often, 150)
	for at := time.Minute; at < minFailing; at += time.Minute {
		r.run(at)
		r.restart()
	}
	r.wantLetters()
	tries := r.State().Held[0].Attempts
	if tries < 3 || tries > minTries {
		t.Errorf("%d tries count after a restart a minute", tries)
	}
	r.run(time.Hour)
	for _, l := range r.wantLetters(1) {
		wantEqual(t, "first at", l.FirstAt, epoch)
		if l.Attempts < minTries || l.LastAt.Sub(l.FirstAt) < minFailing {
			t.Errorf("given up after %d attempts over %s", l.Attempts, l.LastAt.Sub(l.FirstAt))
		}
	}
	r.wantAllDelivered(1)
}

func TestLetter_EightTriesInAHurryAreNotEnough(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(500)))
	r.insertEvery(time.Minute, 20)
	for at := time.Duration(0); at < minFailing; at += time.Minute {
		r.run(at)
		r.RetryNow() // the operator has no patience
	}
	r.run(minFailing - 1)
	r.wantLetters()
	if tries := r.State().Held[0].Attempts; tries < minTries {
		t.Errorf("only %d tries count", tries)
	}
	r.run(minFailing)
	r.RetryNow()
	r.run(minFailing + time.Minute)
	for _, l := range r.wantLetters(1) {
		if over := l.LastAt.Sub(l.FirstAt); over < minFailing || over > minFailing+time.Minute {
			t.Errorf("given up after %s", over)
		}
	}
	r.run(day)
	r.wantAllDelivered(1)
}
