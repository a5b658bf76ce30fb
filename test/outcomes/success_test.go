package outcomes

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

func TestSuccess_AnyStatusFrom200To299Settles(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(fediverse.PerActivity(func(name string) fediverse.Answer {
		return fediverse.Status(199 + numberOf(name))
	}))
	r.insertEvery(0, 100)
	r.run(day)
	wantEqual(t, "deliveries", len(r.tries), 100)
	for _, y := range r.tries {
		wantEqual(t, y.String(), y.outcome, worker.Outcome{Class: worker.Delivered, Status: 199 + int(y.id)})
		wantEqual(t, "its time", y.at, 0)
	}
	r.wantAllDelivered()
	r.wantLetters()
}

func TestSuccess_TheBodyMayDoWhatItLikes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]fediverse.Answer{
		"breaks off":                 fediverse.ResetAfterOK,
		"is shorter than it says":    fediverse.ShortBody,
		"is no end of chunks":        fediverse.BadChunks,
		"is a gigabyte":              fediverse.HugeBody(1 << 30),
		"starts and never goes on":   fediverse.EndlessBody,
		"is a page that looks wrong": fediverse.Explained(200, "text/html", "<h1>500 Internal Server Error</h1>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, deliver.Config{RequestTimeout: 2 * time.Second})
			r.toad.SetAnswer(answer)
			r.insert(activity{object: "https://sender.example/notes/1"})
			r.insert(activity{object: "https://sender.example/notes/1"}) // after it, perhaps on the same connection
			r.run(day)
			r.wantTries("0s #1 200 delivered", "0s #2 200 delivered")
			r.wantAllDelivered()
			wantEqual(t, "failures", r.Status(r.now()).FailCount, 0)
		})
	}
}

func TestClass_IsTheSameNumberInBothPackages(t *testing.T) {
	for theirs, ours := range map[deliver.Class]worker.Class{
		deliver.Delivered: worker.Delivered, deliver.Refused: worker.Refused, deliver.Retry: worker.Retry,
		deliver.Unauthorized: worker.Unauthorized, deliver.Throttled: worker.Throttled, deliver.Gone: worker.Gone,
		deliver.Unusable: worker.Unusable, deliver.Canceled: worker.Canceled,
	} {
		wantEqual(t, theirs.String(), worker.Class(theirs), ours)
	}
}

func TestSuccess_IsASignOfLifeAndLowersTheFailCountByOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(5, fediverse.Status(502)), fediverse.OK)...))
	r.insert(activity{})
	r.runTries(5)
	wantEqual(t, "failures", r.State().FailCount, 5)
	r.runTries(6)
	wantEqual(t, "failures", r.State().FailCount, 4)
	wantEqual(t, "last success", r.State().LastSuccessAt, r.now())
	r.wantAllDelivered()
}
