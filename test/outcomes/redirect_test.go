package outcomes

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

const frog = "https://frog.example/users/bob/inbox?via=toad"

// expectAt says that all activities should be at the inbox.
func (r *rig) expectAt(inbox string) fediverse.Expected {
	expected := fediverse.Expected{}
	for _, a := range r.all {
		expected.Add(inbox, nameOf(a.id))
	}
	return expected
}

func TestRedirect_307And308AreFollowedAndSignedAnewForTheNewHost(t *testing.T) {
	t.Parallel()
	for _, code := range []int{307, 308} {
		r := newRig(t, deliver.Config{})
		r.toad.SetAnswer(fediverse.Redirect(code, frog))
		r.insert(activity{})
		r.run(day)
		r.wantTries("0s #1 202 delivered")
		// The fediverse takes no request whose signature, Host and name of the handshake are not of the new host.
		r.wantVerdict(r.expectAt(frog))
		r.wantSettled()
		wantEqual(t, "requests to the old host", r.net.Ledger().Count(domain), 1)
	}
}

func TestRedirect_ALocationMayBeRelative(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetBehaviour(fediverse.PerInbox(func(path string) fediverse.Answer {
		if path == "/inbox" {
			return fediverse.Redirect(308, "api/inbox?shared")
		}
		return nil
	}))
	r.insert(activity{})
	r.run(day)
	r.wantTries("0s #1 202 delivered")
	r.wantVerdict(r.expectAt("https://toad.example/api/inbox?shared"))
}

// hops redirects a delivery n times, each time to another host, the last of which takes it.
func hops(r *rig, n int) {
	next := func(i int) string { return fmt.Sprintf("https://hop%d.example/inbox", i) }
	r.toad.SetAnswer(fediverse.Redirect(307, next(1)))
	for i := 1; i < n; i++ {
		r.net.Instance(fmt.Sprintf("hop%d.example", i)).SetAnswer(fediverse.Redirect(308, next(i+1)))
	}
	r.net.Instance(fmt.Sprintf("hop%d.example", n)).SetAnswer(fediverse.OK)
}

func TestRedirect_ThreeAreFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	hops(r, 3)
	r.insert(activity{})
	r.run(day)
	r.wantTries("0s #1 202 delivered")
	r.wantVerdict(r.expectAt("https://hop3.example/inbox"))
}

func TestRedirect_TheFourthIsAFailureUntilSomebodyRepairsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	hops(r, 4)
	r.insert(activity{})
	r.runTries(5)
	for _, y := range r.tries {
		wantEqual(t, y.String(), y.outcome.Class, worker.Retry)
		wantReason(t, y.outcome.Reason, "308 Permanent Redirect", "more than 3 times", "https://hop4.example/inbox")
	}
	r.wantBackoff(pauses(r.tries), 1)
	wantEqual(t, "requests to the fifth host", r.net.Ledger().Count("hop4.example"), 0)
	wantEqual(t, "requests to the fourth host", r.net.Ledger().Count("hop3.example"), 5)
	hops(r, 2)
	r.run(day)
	r.wantVerdict(r.expectAt("https://hop2.example/inbox"))
	r.wantSettled()
}

func TestRedirect_ALoopIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(fediverse.Redirect(308, shared))
	r.insert(activity{})
	r.runTries(2)
	wantReason(t, r.tries[0].outcome.Reason, "more than 3 times")
	r.wantBackoff(pauses(r.tries), 1)
	wantEqual(t, "requests", r.net.Ledger().Count(domain), 8)
}

func TestRedirect_TheAnswerOfTheNewHostCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.toad.SetAnswer(fediverse.Redirect(307, frog))
	r.net.Instance("frog.example").SetAnswer(inTurn(
		fediverse.Status(401), fediverse.Status(429, "Retry-After", "60"), fediverse.Status(403)))
	r.insert(activity{})
	r.run(day)
	r.wantTries("0s #1 401 unauthorized", "5s #1 429 throttled", "1m5s #1 403 refused")
	r.wantSettled()
}

func TestRedirect_ToWhereNothingMayBeSentIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	for location, words := range map[string]string{
		"http://frog.example/inbox":                "SENDER_ALLOW_HTTP",
		"https://10.0.0.1/inbox":                   "not public",
		"https://169.254.169.254/latest/meta-data": "not public",
		"https://[::1]/inbox":                      "not public",
		"https://[::ffff:192.168.0.1]/inbox":       "not public",
		"//127.0.0.1/inbox":                        "not public",
		"https://localhost/inbox":                  "this machine",
		"https://frog.example:8443/inbox":          "port 8443",
		"https://bob:hunter2@frog.example/inbox":   "user name",
		"ftp://frog.example/inbox":                 "not an https URL",
		"javascript:alert(1)":                      "not an https URL",
	} {
		r := newRig(t, deliver.Config{})
		r.net.Instance("frog.example").SetLink(fediverse.Down)
		r.toad.SetBehaviour(only(2, fediverse.Redirect(308, location)))
		r.insertEvery(0, 3)
		r.run(365 * day)
		wantEqual(t, location+": deliveries", len(r.tries), 3)
		for _, l := range r.wantLetters(2) {
			wantEqual(t, location+": status", l.HTTPStatus, 308)
			wantReason(t, l.Reason, "redirected to where nothing may be sent", words)
			wantReasonWithout(t, l.Reason, "hunter2")
		}
		r.wantAllDelivered(2)
		wantEqual(t, location+": connections to frog", r.net.Ledger().Refused("frog.example"), 0)
		wantEqual(t, location+": failures", r.State().FailCount, 0)
	}
}

func TestRedirect_ToANameOfAPrivateAddressIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.useDirectClient(deliver.Config{Policy: deliver.Policy{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	_, port, err := net.SplitHostPort(r.net.Addr())
	if err != nil {
		t.Fatal(err)
	}
	host := domain + ":" + port
	r.net.Instance(host).SetBehaviour(only(2, fediverse.Redirect(308, "https://inside.example/inbox")))
	for range 3 {
		r.insert(activity{inboxes: []worker.Inbox{{URL: "https://" + host + "/inbox", Shared: true}}})
	}
	r.run(365 * day)
	wantEqual(t, "deliveries", len(r.tries), 3)
	for _, l := range r.wantLetters(2) {
		wantReason(t, l.Reason, "inside.example", "no address that may be sent to", "10.0.0.1")
	}
	r.wantAllDelivered(2)
}

func TestRedirect_ThatTurnsPOSTIntoGETIsAFailureTheOperatorReadsAbout(t *testing.T) {
	t.Parallel()
	for _, code := range []int{301, 302, 303} {
		r := newRig(t, deliver.Config{})
		r.net.Instance("frog.example").SetLink(fediverse.Down) // counts whoever comes
		r.toad.SetAnswer(inTurn(append(times(4, fediverse.Redirect(code, frog)), fediverse.OK)...))
		r.insert(activity{})
		r.runTries(4)
		r.wantBackoff(pauses(r.tries), 1)
		wantEqual(t, "connections to frog", r.net.Ledger().Refused("frog.example"), 0)
		status := r.Status(r.now())
		wantEqual(t, "state", status.Word, worker.WordFailing)
		wantEqual(t, "failures", status.FailCount, 4)
		wantReason(t, status.LastError, fmt.Sprint(code), "https://frog.example/users/bob/inbox", "GET", "308")
		wantReasonWithout(t, status.LastError, "via=toad")
		wantEqual(t, "status", r.State().LastHTTPStatus, code)
		r.run(day)
		r.wantAllDelivered()
		r.wantLetters()
	}
}

func TestRedirect_IsAFailureWhereServersOfThisKindDoNotFollowIt(t *testing.T) {
	t.Parallel()
	for _, code := range []int{307, 308} {
		r := newRig(t, deliver.Config{Policy: deliver.Policy{RefuseRedirects: true}})
		r.toad.SetAnswer(inTurn(fediverse.Redirect(code, frog), fediverse.OK))
		r.insert(activity{})
		r.runTries(1)
		wantReason(t, r.Status(r.now()).LastError, fmt.Sprint(code), "https://frog.example/users/bob/inbox", "do not send")
		r.run(day)
		r.wantAllDelivered()
		wantEqual(t, "requests to frog", r.net.Ledger().Count("frog.example"), 0)
	}
}

func TestRedirect_ThatLeadsNowhereIsAFailure(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]fediverse.Answer{
		"300": fediverse.Redirect(300, frog), "304": fediverse.Redirect(304, frog), "305": fediverse.Redirect(305, frog),
		"307 without a Location":  fediverse.Status(307),
		"308 to what is no URL":   fediverse.Redirect(308, "https://[frog/inbox"),
		"301 without a Location":  fediverse.Status(301),
		"302 with spaces in it":   fediverse.Redirect(302, "http s://x y"),
		"399, which nobody knows": fediverse.Redirect(399, frog),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, deliver.Config{})
			r.toad.SetAnswer(inTurn(append(times(3, answer), fediverse.OK)...))
			r.insert(activity{})
			r.runTries(3)
			for _, y := range r.tries {
				wantEqual(t, y.String(), y.outcome.Class, worker.Retry)
				wantReason(t, y.outcome.Reason, name[:3])
			}
			r.run(day)
			r.wantBackoff(pauses(r.tries), 1)
			r.wantAllDelivered()
			wantEqual(t, "requests to frog", r.net.Ledger().Count("frog.example"), 0)
		})
	}
}
