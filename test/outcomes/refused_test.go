package outcomes

import (
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

// refusals are 501 and every 4xx that has no other meaning.
func refusals() (codes []int) {
	others := []int{401, 408, 410, 418, 425, 429}
	for code := 400; code <= 499; code++ {
		if !slices.Contains(others, code) {
			codes = append(codes, code)
		}
	}
	return append(codes, 501)
}

func TestRefused_SettlesWithoutAnotherTry(t *testing.T) {
	t.Parallel()
	codes := refusals()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(fediverse.PerActivity(func(name string) fediverse.Answer {
		return fediverse.Status(codes[numberOf(name)-1])
	}))
	r.insertEvery(0, len(codes))
	r.run(365 * day)
	wantEqual(t, "deliveries", len(r.tries), len(codes))
	for _, y := range r.tries {
		code := codes[y.id-1]
		wantEqual(t, y.String(), y.outcome.Class, worker.Refused)
		wantEqual(t, "its status", y.outcome.Status, code)
		wantEqual(t, "its time", y.at, 0)
	}
	r.wantSettled()
	r.wantLetters()
	wantEqual(t, "failures", r.State().FailCount, 0)
	wantEqual(t, "state", r.Status(r.now()).Word, worker.WordOK)
}

func TestRefused_TheLastOneIsKeptForTheOperator(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(
		fediverse.Explained(422, "text/plain", "what is a toad?\nline 2"),
		fediverse.Explained(403, "application/json", `{"error":"go \u001b away"}`),
		fediverse.OK))
	r.insertEvery(time.Hour, 3)
	r.run(time.Minute)
	wantEqual(t, "last error", r.State().LastError, "422 Unprocessable Entity: what is a toad?")
	r.run(day)
	state := r.State()
	wantEqual(t, "last error", state.LastError, `403 Forbidden: {"error":"go \u001b away"}`)
	wantEqual(t, "its status", state.LastHTTPStatus, 403)
	wantEqual(t, "its time", state.LastErrorAt.Sub(epoch), time.Hour)
	r.wantTries("0s #1 422 refused", "1h0m0s #2 403 refused", "2h0m0s #3 202 delivered")
	r.wantSettled()
}

func TestRefused_LetsTheConflictingOneGoAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(404)))
	r.insert(activity{object: "https://sender.example/notes/1"})
	r.insert(activity{object: "https://sender.example/notes/1"})
	r.run(day)
	r.wantTries("0s #1 404 refused", "0s #2 202 delivered")
	r.wantAllDelivered(1)
}

func TestRefused_ShowsThatTheInstanceIsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(3, fediverse.Status(500)), fediverse.Status(405))...))
	r.insert(activity{})
	r.run(day)
	wantEqual(t, "failures", r.State().FailCount, 2)
	wantEqual(t, "last sign of life", r.Status(r.now()).SeenAt.Sub(epoch), r.tries[3].at)
	r.wantSettled()
	r.wantLetters()
}

func TestUnauthorized_IsTriedSixTimesMoreAndThenRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(401)))
	r.insert(activity{object: "https://sender.example/notes/1"})
	r.insert(activity{object: "https://sender.example/notes/1"}) // waits for it
	r.insert(activity{})                                         // does not
	r.run(365 * day)
	r.wantTries(
		"0s #1 401 unauthorized", "0s #3 202 delivered",
		"5s #1 401 unauthorized", "20s #1 401 unauthorized", "1m5s #1 401 unauthorized",
		"3m20s #1 401 unauthorized", "10m5s #1 401 unauthorized", "30m20s #1 401 unauthorized",
		"30m20s #2 202 delivered",
	)
	r.wantAllDelivered(1)
	r.wantLetters()
	wantEqual(t, "failures", r.State().FailCount, 0)
}

func TestUnauthorized_IsDeliveredWhenTheReceiverHasFetchedTheKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(inTurn(append(times(6, fediverse.Status(401)), fediverse.OK)...))
	r.insert(activity{})
	r.run(day)
	wantEqual(t, "deliveries", len(r.tries), 7)
	wantEqual(t, "the last one", r.tries[6].String(), "30m20s #1 202 delivered")
	r.wantAllDelivered()
}

func TestUnauthorized_ARestartDoesNotGrantMoreTries(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(only(1, fediverse.Status(401)))
	r.insertEvery(0, 2)
	for n := range 7 {
		r.runTries(n + 2)
		r.restart()
	}
	r.run(365 * day)
	wantEqual(t, "deliveries of #1", len(r.triesOf(1)), 7)
	wantEqual(t, "deliveries of #2", len(r.triesOf(2)), 1)
	r.wantAllDelivered(1)
}
