package fediverse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
)

// threads puts activity n into the group n modulo 10.
func threads(activity string) (string, int64) {
	n, err := strconv.ParseInt(activity[strings.LastIndexByte(activity, '/')+1:], 10, 64)
	if err != nil || n >= 100 {
		return "", 0
	}
	return strconv.FormatInt(n%10, 10), n
}

func TestVerdict_CountsEachKind(t *testing.T) {
	f := start(t, fediverse.Config{})
	s := newSender(t, f, "one")
	f.Instance("frog.example").SetAnswer(fediverse.Status(500))
	expected := fediverse.Expected{}
	expected.Add("https://Toad.example/inbox", id(1), id(2), id(11), id(21), id(22), id(200), id(100), id(5))
	expected.Add("https://toad.example/users/a/inbox", id(21))
	expected.Add("frog.example/inbox", id(1))
	expected.Add("never.example/inbox", id(1))
	for _, n := range []int{1, 2, 21, 11, 22, 22, 200, 100, 77} { // 11 after 21, 22 twice, 77 not expected, 5 missing
		s.wantPost(inbox, id(n), 202)
	}
	s.wantPost("https://toad.example/users/a/inbox", id(21), 202)
	s.wantPost("https://frog.example/inbox", id(1), 500)
	got := f.Ledger().Verdict(expected, threads)
	wantEqual(t, "verdict", got.String(), "delivered 8, lost 3, twice 1, out of order 1, unexpected 1")
	wantEqual(t, "examples", len(got.Examples), 6)
	for _, words := range []string{"lost: " + id(5) + " for toad.example/inbox", "out of order: " + id(11), "unexpected: " + id(77)} {
		if !strings.Contains(strings.Join(got.Examples, "\n"), words) {
			t.Errorf("no example says %q: %q", words, got.Examples)
		}
	}
	wantEqual(t, "duplicates", len(f.Ledger().Duplicates("")), 1)
	wantEqual(t, "first arrivals", len(f.Ledger().FirstArrivals("toad.example")), 9)
	wantEqual(t, "by process", f.Ledger().ByProcess()["one"], 10)
	wantEqual(t, "without an order", f.Ledger().Verdict(expected, nil).OutOfOrder, 0)

	f.Ledger().Forget()
	wantEqual(t, "verdict of nothing", f.Ledger().Verdict(nil, threads).String(), "delivered 0, lost 0, twice 0, out of order 0")
}

func TestVerdict_FindsTheLaterThatDidNotWaitForTheEarlier(t *testing.T) {
	f := start(t, fediverse.Config{})
	s := newSender(t, f, "one")
	release := make(chan struct{})
	f.Instance("toad.example").SetBehaviour(fediverse.PerActivity(func(activity string) fediverse.Answer {
		if activity != id(1) {
			return nil
		}
		return func(x *fediverse.Exchange) {
			<-release
			fediverse.OK(x)
		}
	}))
	var group sync.WaitGroup
	group.Go(func() { s.wantPost(inbox, id(1), 202) })
	if err := f.Ledger().WaitFor(t.Context(), func() bool { return f.Ledger().Count("") == 1 }); err != nil {
		t.Fatal(err)
	}
	s.wantPost(inbox, id(11), 202)
	s.wantPost(inbox, id(2), 202)
	close(release)
	group.Wait()
	verdict := f.Ledger().Verdict(nil, threads)
	wantEqual(t, "out of order", verdict.OutOfOrder, 1)
}

func TestOverlaps_AreOfTwoProcessesAtOneTime(t *testing.T) {
	f := start(t, fediverse.Config{})
	one, two := newSender(t, f, "one"), newSender(t, f, "two")
	one.wantPost(inbox, id(1), 202)
	two.wantPost(inbox, id(2), 202)
	wantEqual(t, "overlaps one after the other", len(f.Ledger().Overlaps("")), 0)

	release := make(chan struct{})
	f.SetDefault(fediverse.PerActivity(func(activity string) fediverse.Answer {
		if activity != id(3) {
			return nil
		}
		return func(x *fediverse.Exchange) {
			<-release
			fediverse.OK(x)
		}
	}))
	var group sync.WaitGroup
	group.Go(func() { one.wantPost(inbox, id(3), 202) })
	if err := f.Ledger().WaitFor(t.Context(), func() bool { return f.Ledger().Count("") == 3 }); err != nil {
		t.Fatal(err)
	}
	one.wantPost(inbox, id(4), 202)
	two.wantPost("https://frog.example/inbox", id(5), 202)
	wantEqual(t, "overlaps with itself, or elsewhere", len(f.Ledger().Overlaps("")), 0)
	two.wantPost(inbox, id(6), 202)
	close(release)
	group.Wait()
	got := f.Ledger().Overlaps("toad.example")
	if len(got) != 1 || got[0].First.Activity != id(3) || got[0].Second.Activity != id(6) || got[0].Second.Process != "two" {
		t.Errorf("the overlaps are %+v", got)
	}
}

func TestLedger_HasADeliveryBeforeItsSenderKnows(t *testing.T) {
	f := start(t, fediverse.Config{VerifyEvery: 1 << 30})
	s := newSender(t, f, "one")
	for n := range 200 {
		s.wantPost(inbox, id(n), 202)
		if got := f.Ledger().Accepted("toad.example"); got != n+1 {
			t.Fatalf("%d were answered and the ledger has %d", n+1, got)
		}
	}
}

func TestWaitFor_EndsWithItsContext(t *testing.T) {
	f := start(t, fediverse.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Ledger().WaitFor(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestFediverse_TakesManyInstancesAtOnce(t *testing.T) {
	f := start(t, fediverse.Config{VerifyEvery: 100})
	s := newSender(t, f, "one")
	const senders, instances = 8, 400
	expected := fediverse.Expected{}
	for i := range instances {
		expected.Add(fmt.Sprintf("https://i%d.example/inbox", i), id(1), id(11))
	}
	var group sync.WaitGroup
	for part := range senders {
		group.Go(func() {
			for i := part; i < instances; i += senders {
				for _, n := range []int{1, 11} {
					s.wantPost(fmt.Sprintf("https://i%d.example/inbox", i), id(n), 202)
				}
			}
		})
	}
	group.Wait()
	wantEqual(t, "verdict", f.Ledger().Verdict(expected, threads).String(), "delivered 800, lost 0, twice 0, out of order 0")
}

// BenchmarkFediverse measures a request without its RSA verification, the little work of the client included.
func BenchmarkFediverse(b *testing.B) {
	f := start(b, fediverse.Config{VerifyEvery: 1 << 30})
	conn, err := net.Dial("tcp", f.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := rightRequest()
	r.body = `{"@context":"https://www.w3.org/ns/activitystreams","id":"https://sender.example/1","content":"` + strings.Repeat("x", 1500) + `"}`
	raw := r.raw(b)
	answers := bufio.NewReader(conn)
	for b.Loop() {
		if _, err := conn.Write(raw); err != nil {
			b.Fatal(err)
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil || answer.StatusCode != 202 {
			b.Fatal(answer, err)
		}
	}
}
