package outcomes

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

// failures are 408, 425 and every 5xx but 501, and what HTTP does not know.
func failures() []int {
	codes := []int{101, 408, 425, 600, 799, 999}
	for code := 500; code <= 599; code++ {
		if code != 501 {
			codes = append(codes, code)
		}
	}
	return codes
}

func TestFailure_StatusesOfAServerInTroubleAreTriedAgainWithBackoff(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	for _, code := range failures() {
		r.toad.SetAnswer(inTurn(append(times(2, fediverse.Status(code)), fediverse.OK)...))
		r.Worker, r.tries, r.rounds = worker.New(worker.State{Cursor: int64(len(r.all))}, worker.Limits{}, epoch, seed), nil, nil
		r.insert(activity{})
		r.run(r.elapsed() + time.Hour)
		wantEqual(t, fmt.Sprint(code, ": deliveries"), len(r.tries), 3)
		for _, y := range r.tries[:2] {
			wantEqual(t, y.String(), y.outcome.Class, worker.Retry)
			wantEqual(t, "its status", y.outcome.Status, code)
			wantReason(t, y.outcome.Reason, fmt.Sprint(code))
		}
		r.wantBackoff(pauses(r.tries), 1)
		wantEqual(t, fmt.Sprint(code, ": status that is kept"), r.State().LastHTTPStatus, code)
		r.wantSettled()
	}
	r.wantAllDelivered()
	r.wantLetters()
}

// trouble is a way in which an instance gives no answer.
type trouble struct {
	config deliver.Config
	direct bool // by the name of the inbox, not to the fediverse
	inbox  string
	answer fediverse.Answer
	link   fediverse.Link
	words  []string // in the reason
}

func troubles() map[string]trouble {
	hasty := deliver.Config{HeaderTimeout: haste, TLSTimeout: haste, ConnectTimeout: haste}
	return map[string]trouble{
		"never answers":             {config: hasty, answer: fediverse.Hang, words: []string{"timed out", "timeout"}},
		"answers too late":          {config: hasty, answer: fediverse.Slow(time.Minute, fediverse.OK), words: []string{"timed out"}},
		"is slower than a delivery": {config: deliver.Config{RequestTimeout: haste}, answer: fediverse.Hang, words: []string{"no answer within 300ms"}},
		"resets":                    {answer: fediverse.Reset, words: []string{"reset by peer"}},
		"has a header of 100 KiB":   {answer: fediverse.Status(500, "X-Long", strings.Repeat("x", 100<<10)), words: []string{"headers exceeded"}},
		"hangs up":                  {answer: fediverse.HangUp, words: []string{"EOF"}},
		"speaks another protocol":   {answer: fediverse.Rubbish, words: []string{"malformed"}},
		"resets the handshake":      {link: fediverse.Down, words: []string{"reset by peer"}},
		"stalls the handshake":      {config: hasty, link: fediverse.HangingTLS, words: []string{"handshake timeout"}},
		"has an old certificate":    {link: fediverse.ExpiredTLS, words: []string{"the certificate of toad.example is not valid", "expired"}},
		"has a certificate of its own making": {
			link: fediverse.UntrustedTLS, words: []string{"the certificate of toad.example is not valid", "unknown authority"}},
		"has another's certificate": {
			link: fediverse.WrongNameTLS, words: []string{"the certificate of toad.example is not valid", "other.invalid"}},
		// Port 1 is tcpmux, which nobody runs.
		"refuses connections": {config: deliver.Config{ConnectTo: "127.0.0.1:1"}, words: []string{"refused"}},
		"refuses connections by its name": {
			config: deliver.Config{Policy: deliver.Policy{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}},
			direct: true, inbox: "https://toad.example:1/inbox", words: []string{"refused"}},
		"is not in DNS": {
			direct: true, inbox: "https://nowhere.invalid/inbox", words: []string{"the name nowhere.invalid does not exist in DNS"}},
		"has a broken DNS": {direct: true, inbox: "https://broken.invalid/inbox", words: []string{"DNS does not answer for broken.invalid"}},
		"has a silent DNS": {config: hasty, direct: true, inbox: "https://silent.invalid/inbox", words: []string{"silent.invalid"}},
	}
}

func TestFailure_AnInstanceThatGivesNoAnswerIsTriedAgainWithBackoff(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, trouble.config)
			if trouble.direct {
				r.useDirectClient(trouble.config)
			}
			if trouble.answer != nil {
				r.toad.SetAnswer(trouble.answer)
			}
			r.toad.SetLink(trouble.link)
			a := activity{}
			if trouble.inbox != "" {
				a.inboxes = []worker.Inbox{{URL: trouble.inbox, Shared: true}}
			}
			r.insert(a)
			r.runTries(4)
			for _, y := range r.tries {
				wantEqual(t, "outcome", y.outcome.Class, worker.Retry)
				wantEqual(t, "status", y.outcome.Status, 0)
				wantReason(t, y.outcome.Reason, trouble.words...)
			}
			status := r.Status(r.now())
			wantEqual(t, "state", status.Word, worker.WordFailing)
			wantEqual(t, "failures", status.FailCount, 4)
			wantEqual(t, "what the operator reads", status.LastError, r.tries[3].outcome.Reason)

			r.useClient(deliver.Config{Policy: deliver.Policy{AllowHTTP: true}}) // any port
			r.toad.SetLink(fediverse.Up)
			r.toad.SetAnswer(fediverse.OK)
			r.run(day)
			wantEqual(t, "deliveries", len(r.tries), 5)
			r.wantBackoff(pauses(r.tries), 1)
			r.wantAllDelivered()
			r.wantLetters()
		})
	}
}

func TestFailure_AReceiverThatTookItButAnsweredTooLateGetsItAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{HeaderTimeout: time.Second})
	r.toad.SetAnswer(inTurn(fediverse.Late(time.Minute), fediverse.OK))
	r.insert(activity{})
	r.runTries(1)
	wantEqual(t, "outcome", r.tries[0].outcome.Class, worker.Retry)
	r.useClient(deliver.Config{})
	r.run(day)
	wantEqual(t, "deliveries", len(r.tries), 2)
	wantEqual(t, "taken", r.net.Ledger().Accepted(domain), 2)
	r.wantSettled()
}
