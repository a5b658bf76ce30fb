package worker_test

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

// strict makes a worker whose rules try no 401 again and have an instance dead by its silence alone.
func strict(t *testing.T, state worker.State, seen time.Time) *instance {
	t.Helper()
	return &instance{Worker: worker.New(state, worker.Limits{Rules: &worker.Rules{}}, seen, 7), t: t, now: start}
}

func TestRules_WithoutTriesA401IsRefusedAtOnce(t *testing.T) {
	w := strict(t, worker.State{}, start)
	w.Offer(job(1))
	d, ok := w.Next(w.now)
	if !ok {
		t.Fatal("nothing may start")
	}
	w.Done(w.now, d, unauthorized)
	if w.Cursor() != 1 || w.Status(w.now).FailCount != 0 {
		t.Errorf("the cursor is at %d, after %d failures", w.Cursor(), w.Status(w.now).FailCount)
	}
}

func TestRules_SilenceAloneMakesAnInstanceDeadAndASuccessRevivesIt(t *testing.T) {
	w := strict(t, worker.State{}, start.Add(-73*time.Hour))
	if !w.Dead(w.now) {
		t.Fatal("it is not dead")
	}
	w.Offer(job(1))
	d, ok := w.Next(w.now)
	if !ok {
		t.Fatal("one that was never tried is not probed")
	}
	w.Done(w.now, d, failed)
	if at := w.NextAt(w.now); at.Sub(w.now) < 23*time.Hour {
		t.Errorf("the next probe is in %s", at.Sub(w.now))
	}
	w.now = w.now.Add(25 * time.Hour)
	if d, ok = w.Next(w.now); !ok {
		t.Fatal("it is not probed after a day")
	}
	w.Done(w.now, d, delivered)
	if w.Dead(w.now) {
		t.Error("a success does not revive it")
	}
}

func TestRules_LivelyInstanceThatNeverFailedIsNotWrittenAnewWhenItIsTaken(t *testing.T) {
	w := strict(t, worker.State{LastRetryAt: start.Add(-time.Hour)}, start)
	if w.Version() != 0 {
		t.Error("it counts as revived although it was not dead")
	}
}
