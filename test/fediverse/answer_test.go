package fediverse_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

const inbox = "https://toad.example/inbox"

func TestInstance_AnswersAsItIsTold(t *testing.T) {
	cases := []struct {
		name     string
		answer   fediverse.Answer
		class    deliver.Class
		status   int
		accepted bool
		words    string
	}{
		{"accepts", fediverse.OK, deliver.Delivered, 202, true, ""},
		{"has no content", fediverse.Status(204), deliver.Delivered, 204, true, ""},
		{"is slow", fediverse.Slow(20*time.Millisecond, fediverse.OK), deliver.Delivered, 202, true, ""},
		{"is late, in time", fediverse.Late(20 * time.Millisecond), deliver.Delivered, 202, true, ""},
		{"is broken", fediverse.Status(500), deliver.Retry, 500, false, ""},
		{"explains", fediverse.Explained(400, "text/plain", "no such person"), deliver.Refused, 400, false, "no such person"},
		{"is gone", fediverse.Gone, deliver.Gone, 410, false, ""},
		{"is throttled", fediverse.RetryAfter(429, 7*time.Second), deliver.Throttled, 429, false, ""},
		{"is in maintenance until", fediverse.RetryAfterDate(503, time.Hour), deliver.Throttled, 503, false, ""},
		{"is throttled without end", fediverse.Status(429), deliver.Throttled, 429, false, ""},
		{"has moved", fediverse.Redirect(301, "https://frog.example/inbox"), deliver.Retry, 301, false, "frog.example"},
		{"hangs", fediverse.Hang, deliver.Retry, 0, false, ""},
		{"is too slow", fediverse.Slow(time.Minute, fediverse.OK), deliver.Retry, 0, false, ""},
		{"accepts and is too late", fediverse.Late(time.Minute), deliver.Retry, 0, true, ""},
		{"resets", fediverse.Reset, deliver.Retry, 0, false, ""},
		{"hangs up", fediverse.HangUp, deliver.Retry, 0, false, ""},
		{"is a mail server", fediverse.Rubbish, deliver.Retry, 0, false, ""},
		{"never ends", fediverse.HugeBody(10 << 30), deliver.Delivered, 200, true, ""},
		{"resets after 200", fediverse.ResetAfterOK, deliver.Delivered, 200, true, ""},
		{"says less than it promised", fediverse.ShortBody, deliver.Delivered, 200, true, ""},
		{"counts badly", fediverse.BadChunks, deliver.Delivered, 200, true, ""},
	}
	for _, c := range cases {
		for _, scheme := range []string{"https", "http"} {
			t.Run(c.name+" by "+scheme, func(t *testing.T) {
				t.Parallel()
				f := start(t, fediverse.Config{})
				f.Instance("toad.example").SetAnswer(c.answer)
				out := newSender(t, f, "one").post(scheme+"://toad.example/inbox", id(1))
				if out.Class != c.class || out.Status != c.status || !strings.Contains(out.Reason, c.words) {
					t.Errorf("the outcome is %+v, want %s %d", out, c.class, c.status)
				}
				got := waitEnded(t, f)
				if got.Accepted() != c.accepted || c.status != 0 && got.Status != c.status {
					t.Errorf("the ledger says %d, accepted %t", got.Status, got.Accepted())
				}
				wantNoViolations(t, f)
			})
		}
	}
}

// waitEnded returns the only delivery when it has ended: a client may give up before its server sees that.
func waitEnded(t *testing.T, f *fediverse.Fediverse) (only fediverse.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := f.Ledger().WaitFor(ctx, func() bool {
		all := f.Ledger().Deliveries("")
		if len(all) > 0 {
			only = all[0]
		}
		return len(all) == 1 && !only.Ended.IsZero()
	})
	if err != nil {
		t.Fatal(err)
	}
	return only
}

func TestInstance_SendsABodyThatDoesNotGoOn(t *testing.T) {
	f := start(t, fediverse.Config{})
	f.Instance("toad.example").SetAnswer(fediverse.EndlessBody)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan deliver.Outcome, 1)
	s := newSender(t, f, "one")
	go func() { done <- s.postContext(ctx, inbox, id(1)) }()
	got := waitEnded(t, f) // it is settled before the body ends
	wantEqual(t, "status", got.Status, http.StatusOK)
	cancel()
	<-done
}

func TestInstance_FollowsItsLink(t *testing.T) {
	for link, words := range map[fediverse.Link]string{
		fediverse.Down: "", fediverse.HangingTLS: "", fediverse.ExpiredTLS: "expired", fediverse.UntrustedTLS: "unknown authority", fediverse.WrongNameTLS: "other.invalid",
	} {
		f := start(t, fediverse.Config{})
		s := newSender(t, f, "one")
		f.Instance("toad.example").SetLink(link)
		out := s.post(inbox, id(1))
		if out.Class != deliver.Retry || out.Status != 0 || !strings.Contains(out.Reason, words) {
			t.Errorf("link %d: %+v", link, out)
		}
		wantEqual(t, "refused", f.Ledger().Refused("toad.example"), 1)
		s.wantPost("https://frog.example/inbox", id(1), 202)
		f.Instance("toad.example").SetLink(fediverse.Up)
		s.wantPost(inbox, id(1), 202)
		if link == fediverse.Down {
			f.Instance("toad.example").SetLink(link)
			if out := s.post(inbox, id(2)); out.Class != deliver.Retry {
				t.Errorf("an open connection goes on: %+v", out)
			}
			if out := s.post("http://toad.example/inbox", id(3)); out.Class != deliver.Retry {
				t.Errorf("plain HTTP goes on: %+v", out)
			}
		}
		wantNoViolations(t, f)
	}
}

func TestBehaviour_ChangesWithRequestsTimeAndActivity(t *testing.T) {
	f := start(t, fediverse.Config{})
	s := newSender(t, f, "one")
	toad := f.Instance("toad.example")

	toad.SetBehaviour(fediverse.First(2, fediverse.Status(503), fediverse.Always(fediverse.OK)))
	for _, status := range []int{503, 503, 202, 202} {
		s.wantPost(inbox, id(1), status)
	}
	broken := true
	toad.SetBehaviour(fediverse.While(func() bool { return broken }, fediverse.Status(500), fediverse.Always(fediverse.OK)))
	s.wantPost(inbox, id(1), 500)
	broken = false
	s.wantPost(inbox, id(1), 202)

	toad.SetBehaviour(fediverse.For(time.Hour, fediverse.Status(502), fediverse.Always(fediverse.OK)))
	s.wantPost(inbox, id(1), 502)
	toad.SetBehaviour(fediverse.For(0, fediverse.Status(502), fediverse.Always(fediverse.OK)))
	s.wantPost(inbox, id(1), 202)

	toad.SetBehaviour(fediverse.PerActivity(func(activity string) fediverse.Answer {
		if activity == id(13) {
			return fediverse.Status(500)
		}
		return nil
	}))
	s.wantPost(inbox, id(12), 202)
	s.wantPost(inbox, id(13), 500)

	toad.SetBehaviour(fediverse.PerInbox(func(path string) fediverse.Answer {
		if path == "/users/gone/inbox" {
			return fediverse.Gone
		}
		return nil
	}))
	s.wantPost("https://toad.example/users/gone/inbox", id(1), 410)
	s.wantPost(inbox, id(1), 202)

	toad.SetBehaviour(nil)
	f.SetDefault(fediverse.Always(fediverse.Status(418)))
	s.wantPost(inbox, id(1), 418)
	s.wantPost("https://never-mentioned.example/inbox", id(1), 418)

	toad.SetAnswer(fediverse.Redirect(308, "https://frog.example/inbox"))
	f.Instance("frog.example").SetAnswer(fediverse.OK)
	s.wantPost(inbox, id(1), 202)
	wantEqual(t, "accepted after the redirect", f.Ledger().Accepted("frog.example"), 1)
	wantNoViolations(t, f)
}

func TestAnswer_ThatPanicsIsAViolation(t *testing.T) {
	f := start(t, fediverse.Config{Default: fediverse.Always(func(*fediverse.Exchange) { panic("of the answer") })})
	s := newSender(t, f, "one")
	if out := s.post(inbox, id(1)); out.Class != deliver.Retry || out.Status != 0 {
		t.Errorf("the outcome is %+v", out)
	}
	waitEnded(t, f)
	if first, count := f.Ledger().Violations(); count != 1 || !strings.Contains(first[0].Reason, "of the answer") {
		t.Errorf("violations: %v", first)
	}
}

func TestFlaky_DependsOnTheSeedAlone(t *testing.T) {
	run := func(seed uint64, order []int) (failed map[int]int) {
		f := start(t, fediverse.Config{VerifyEvery: 1 << 30, Default: fediverse.Flaky(seed, 0.3)})
		s := newSender(t, f, "one")
		failed = map[int]int{}
		for _, n := range order {
			for s.post(inbox, id(n)).Status != 202 {
				failed[n]++
			}
		}
		return failed
	}
	var forth, back []int
	for n := range 60 {
		forth, back = append(forth, n), append([]int{n}, back...)
	}
	same, other := 0, 0
	first, second, third := run(1, forth), run(1, back), run(2, forth)
	total := 0
	for _, n := range forth {
		total += first[n]
		if first[n] == second[n] {
			same++
		}
		if first[n] == third[n] {
			other++
		}
	}
	wantEqual(t, "activities that failed as often in another order", same, len(forth))
	if other == len(forth) || total < 10 || total > 50 {
		t.Errorf("another seed: %d as often; %d failures", other, total)
	}
}

func TestClose_EndsWhatHangs(t *testing.T) {
	f := start(t, fediverse.Config{})
	f.SetDefault(fediverse.Always(fediverse.Hang))
	s := newSender(t, f, "one")
	done := make(chan deliver.Outcome, 1)
	go func() { done <- s.post(inbox, id(1)) }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.Ledger().WaitFor(ctx, func() bool { return f.Ledger().Count("") == 1 }); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out := <-done; out.Class != deliver.Retry {
		t.Errorf("the outcome is %+v", out)
	}
	if all := f.Ledger().Deliveries(""); all[0].Ended.IsZero() {
		t.Error("Close came back before the delivery ended")
	}
}
