package sign

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/bubble"
)

// slow is a backend that signs when it is told to, and notes what it is given.
type slow struct {
	lanes  int
	goOn   chan struct{} // nil: at once
	mu     sync.Mutex
	signed [][]string
	at     atomic.Int32 // how many sign at this moment
	most   atomic.Int32
}

func (s *slow) Lanes() int { return max(s.lanes, 1) }

func (s *slow) Sign(_ *Key, messages [][]byte) ([][]byte, error) {
	at := s.at.Add(1)
	defer s.at.Add(-1)
	s.mu.Lock()
	s.most.Store(max(s.most.Load(), at))
	batch, signatures := []string{}, [][]byte{}
	for _, message := range messages {
		batch = append(batch, string(message))
		signatures = append(signatures, []byte("signed "+string(message)))
	}
	s.signed = append(s.signed, batch)
	s.mu.Unlock()
	if s.goOn != nil {
		<-s.goOn
	}
	return signatures, nil
}

func (s *slow) batches() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.signed)
}

// crowd has requests wait at a stage and collects what they get. It runs in a bubble.
type crowd struct {
	t     *testing.T
	stage *Stage
	mu    sync.Mutex
	got   map[string]error
}

func newCrowd(t *testing.T, stage *Stage) *crowd {
	return &crowd{t: t, stage: stage, got: map[string]error{}}
}

func (a *crowd) sign(ctx context.Context, key *Key, flow any, name string) {
	go func() {
		signature, err := a.stage.Sign(ctx, Request{Key: key, Flow: flow, Message: text(name)})
		if err == nil && string(signature) != "signed "+name {
			err = fmt.Errorf("%s got %q", name, signature)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.got[name] = err
	}()
	synctest.Wait()
}

// all fails unless each request got its own signature.
func (a *crowd) all(count int) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.got) != count {
		a.t.Errorf("%d were answered, want %d", len(a.got), count)
	}
	for name, err := range a.got {
		if err != nil {
			a.t.Errorf("%s: %s", name, err)
		}
	}
}

func TestStage_LetsNoMoreSignThanThereAreTurns(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 2, nil))
		for i := range 10 {
			a.sign(t.Context(), testKey(t, "ed25519"), i, fmt.Sprint(i))
		}
		if at, waiting := backend.at.Load(), a.stage.Waiting(); at != 2 || waiting != 8 {
			t.Errorf("%d sign and %d wait", at, waiting)
		}
		close(backend.goOn)
		synctest.Wait()
		a.all(10)
		if most, waiting := backend.most.Load(), a.stage.Waiting(); most != 2 || waiting != 0 {
			t.Errorf("%d signed at a time, %d wait", most, waiting)
		}
	})
}

// TestStage_ManyOnOneProcessorStandInTheLine fails where each signs when it is its time on the processor: nobody waits in the
// line then, and nothing else gets the processor before all have signed.
func TestStage_ManyOnOneProcessorStandInTheLine(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const count = 50
	var stage *Stage
	longest := 0
	stage = NewStage(&slow{}, 1, func(time.Duration) { longest = max(longest, stage.Waiting()) })
	var all conc.WaitGroup
	for range count {
		all.Go(func() {
			if _, err := stage.Sign(t.Context(), Request{Key: &Key{}, Message: text("a")}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if longest < count/2 {
		t.Errorf("of %d at most %d waited for their turn", count, longest)
	}
}

func TestStage_OneForASingleServerWaitsForOneSignatureOfEachActivityAndNotForAllOfOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 1, nil))
		key := testKey(t, "ed25519") // the same for all: a community announces what its members reply
		for i := range 300 {
			a.sign(t.Context(), key, "announce", fmt.Sprint("announce ", i))
		}
		for i := range 30 {
			a.sign(t.Context(), key, "like", fmt.Sprint("like ", i))
		}
		a.sign(t.Context(), key, "reply", "reply")
		for range 331 {
			backend.goOn <- struct{}{}
			synctest.Wait()
		}
		a.all(331)
		order := slices.Concat(backend.batches()...)
		if at := slices.Index(order, "reply"); at > 3 {
			t.Errorf("the reply was signed as number %d: %q", at, order[:at])
		}
		// The requests of one activity keep their order, and those of two alternate.
		last := map[string]int{}
		for i, name := range order {
			var kind string
			var number int
			if _, err := fmt.Sscanf(name, "%s %d", &kind, &number); err == nil {
				if number != last[kind] {
					t.Fatalf("number %d is %s, want %d: %q", i, name, last[kind], order[:i])
				}
				last[kind]++
			}
		}
		if at := slices.Index(order, "like 29"); at < 58 || at > 63 {
			t.Errorf("the last like was signed as number %d", at)
		}
	})
}

func TestStage_BatchHasOneKeyAndTakesFromAllActivitiesInTurn(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{lanes: 4, goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 1, nil))
		one, two := testKey(t, "ed25519"), testKey(t, "rsa1024")
		a.sign(t.Context(), one, "first", "first")
		for i := range 5 {
			a.sign(t.Context(), one, "a", fmt.Sprint("a", i))
		}
		a.sign(t.Context(), two, "b", "b")
		a.sign(t.Context(), testKey(t, "ed25519"), "c", "c") // the same key, read again
		close(backend.goOn)
		synctest.Wait()
		a.all(8)
		want := [][]string{{"first"}, {"a0", "c", "a1", "a2"}, {"b"}, {"a3", "a4"}}
		got := backend.batches()
		// Which of a and c is asked first within a batch is no promise; who is in it is.
		if len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for i := range got {
			slices.Sort(got[i])
			slices.Sort(want[i])
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestStage_WhoseContextEndsLeavesTheLineAndIsNotSigned(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 1, nil))
		key := testKey(t, "ed25519")
		cause := errors.New("the lease is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		a.sign(t.Context(), key, "a", "first")
		a.sign(ctx, key, "a", "gone a")
		a.sign(ctx, key, "b", "gone b")
		a.sign(t.Context(), key, "a", "last")
		cancel(cause)
		synctest.Wait()
		if !errors.Is(a.got["gone a"], cause) || !errors.Is(a.got["gone b"], cause) || a.stage.Waiting() != 1 {
			t.Errorf("got %v, %d wait", a.got, a.stage.Waiting())
		}
		a.sign(ctx, key, "c", "late")
		close(backend.goOn)
		synctest.Wait()
		if got := slices.Concat(backend.batches()...); !slices.Equal(got, []string{"first", "last"}) {
			t.Errorf("signed %q", got)
		}
		if !errors.Is(a.got["late"], cause) || a.got["last"] != nil {
			t.Errorf("got %v", a.got)
		}
		// Nobody has lost a turn.
		a.sign(t.Context(), key, "d", "after")
		if err, answered := a.got["after"]; err != nil || !answered {
			t.Errorf("got %v", a.got)
		}
	})
}

func TestStage_TurnThatComesWhenTheContextHasEndedIsPassedOn(t *testing.T) {
	for range 16 { // both are there, and select takes one by chance
		stage := NewStage(&slow{}, 1, nil)
		r := Request{Key: testKey(t, "ed25519"), Message: text("a")}
		if stage.line(r) != nil {
			t.Fatal("there is no turn")
		}
		w := stage.line(r)
		stage.pass()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if a := stage.wait(ctx, w); a.turn || !errors.Is(a.err, context.Canceled) || stage.turns != 1 {
			t.Fatalf("got %+v, %d turns", a, stage.turns)
		}
	}
}

// noted is a message that counts how often it is asked for.
type noted struct {
	text
	asked atomic.Int32
}

func (n *noted) SigningString() ([]byte, error) {
	n.asked.Add(1)
	return n.text.SigningString()
}

func TestStage_AsksForTheStringWhenTheTurnHasComeAndOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 1, nil))
		a.sign(t.Context(), testKey(t, "ed25519"), "a", "first")
		message := &noted{text: "second"}
		go func() {
			if _, err := a.stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Flow: "b", Message: message}); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if asked := message.asked.Load(); asked != 0 || a.stage.Waiting() != 1 {
			t.Errorf("asked %d times before its turn, %d wait", asked, a.stage.Waiting())
		}
		close(backend.goOn)
		synctest.Wait()
		if asked := message.asked.Load(); asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// broken is a message that can't be had.
type broken struct{ err error }

func (b broken) SigningString() ([]byte, error) {
	if b.err == nil {
		panic("no message")
	}
	return nil, b.err
}

func TestStage_MessageThatFailsCostsNoSignatureAndNoTurn(t *testing.T) {
	backend := &slow{}
	stage := NewStage(backend, 1, nil)
	shut := errors.New("shut")
	if _, err := stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Message: broken{shut}}); !errors.Is(err, shut) {
		t.Errorf("got %v", err)
	}
	if _, err := stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Message: broken{}}); err == nil {
		t.Error("a panic was no error")
	}
	if len(backend.batches()) != 0 {
		t.Errorf("signed %q", backend.batches())
	}
	if _, err := stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Message: text("a")}); err != nil {
		t.Error(err)
	}
}

// bad is a backend that does what none should.
type bad func(messages [][]byte) ([][]byte, error)

func (bad) Lanes() int { return 8 }

func (b bad) Sign(_ *Key, messages [][]byte) ([][]byte, error) { return b(messages) }

func TestStage_BackendThatPanicsOrMiscountsIsAnErrorForWhoAskedAndNoMore(t *testing.T) {
	for name, b := range map[string]bad{
		"panics":    func([][]byte) ([][]byte, error) { panic("of C") },
		"too few":   func([][]byte) ([][]byte, error) { return nil, nil },
		"too many":  func(m [][]byte) ([][]byte, error) { return append(m, nil), nil },
		"a failure": func(m [][]byte) ([][]byte, error) { return m, errors.New("no") },
	} {
		stage := NewStage(b, 1, nil)
		for range 3 { // each time there is a turn
			if signature, err := stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Message: text("a")}); err == nil || signature != nil {
				t.Errorf("%s: got %q, %v", name, signature, err)
			}
		}
	}
}

func TestStage_TellsHowLongEachSignatureTookAndNotTheWait(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var took []time.Duration
		backend := bad(func(m [][]byte) ([][]byte, error) {
			time.Sleep(time.Duration(len(m)) * time.Second) // the bubble's time
			return m, nil
		})
		stage := NewStage(backend, 1, func(d time.Duration) { took = append(took, d) })
		for range 5 {
			go func() {
				_, _ = stage.Sign(t.Context(), Request{Key: testKey(t, "ed25519"), Message: text("a")})
			}()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := slices.Repeat([]time.Duration{time.Second}, 5); !slices.Equal(took, want) {
			t.Errorf("got %v, want %v", took, want)
		}
	})
}

// TestStage_ManyAtOnceEachGetTheirOwn has requests come, wait, be joined and give up in every order that there is time for.
func TestStage_ManyAtOnceEachGetTheirOwn(t *testing.T) {
	for _, lanes := range []int{1, 8} {
		backend := &slow{lanes: lanes}
		stage := NewStage(backend, 2, nil)
		keys := []*Key{testKey(t, "ed25519"), testKey(t, "rsa1024"), testKey(t, "rsa2048")}
		var group sync.WaitGroup
		var right, left atomic.Int32
		for i := range 64 {
			group.Go(func() {
				for j := range 200 {
					name := fmt.Sprint(i, " ", j)
					ctx, cancel := context.WithCancel(t.Context())
					if j%7 == 0 {
						go cancel()
					}
					signature, err := stage.Sign(ctx, Request{Key: keys[i%len(keys)], Flow: i % 5, Message: text(name)})
					cancel()
					switch {
					case err == nil && string(signature) == "signed "+name:
						right.Add(1)
					case errors.Is(err, context.Canceled) && j%7 == 0:
						left.Add(1)
					default:
						t.Errorf("%s got %q, %v", name, signature, err)
					}
				}
			})
		}
		group.Wait()
		if right.Load()+left.Load() != 64*200 || stage.Waiting() != 0 || stage.turns != 2 || len(stage.queue.flows) != 0 || backend.most.Load() > 2 {
			t.Errorf("%d right, %d left, %d wait, %d turns, %d flows, %d at a time", right.Load(), left.Load(), stage.Waiting(), stage.turns, len(stage.queue.flows), backend.most.Load())
		}
	}
}

func TestStage_WhatHasBegunGoesBeforeWhatHasNotButBeforeNoOtherActivity(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		stage := NewStage(&slow{}, 1, nil)
		var mu sync.Mutex
		var order []string
		take := func(flow, name string, begun bool) {
			go func() {
				if err := stage.Take(t.Context(), flow, begun); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				stage.Give()
			}()
			synctest.Wait()
		}
		if err := stage.Take(t.Context(), "a", false); err != nil {
			t.Fatal(err)
		}
		take("a", "new 1", false)
		take("a", "new 2", false)
		take("a", "begun 1", true)
		take("a", "begun 2", true)
		take("b", "other", false)
		ended, end := context.WithCancel(t.Context())
		go func() {
			if err := stage.Take(ended, "a", true); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}()
		synctest.Wait()
		end()
		synctest.Wait()
		stage.Give()
		synctest.Wait()
		if want := []string{"begun 1", "other", "begun 2", "new 1", "new 2"}; !slices.Equal(order, want) {
			t.Errorf("got %q, want %q", order, want)
		}
		if stage.turns != 1 || stage.Waiting() != 0 {
			t.Errorf("%d turns are left, %d wait", stage.turns, stage.Waiting())
		}
	})
}

func TestStage_BatchLeavesOutWhoWantsATurnForSomethingElse(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		backend := &slow{lanes: 4, goOn: make(chan struct{})}
		a := newCrowd(t, NewStage(backend, 1, nil))
		key, took := testKey(t, "ed25519"), false
		a.sign(t.Context(), key, "first", "first")
		a.sign(t.Context(), key, "a", "a0")
		go func() {
			if err := a.stage.Take(t.Context(), "a", true); err != nil {
				t.Error(err)
			}
			took = true
			a.stage.Give()
		}()
		synctest.Wait()
		a.sign(t.Context(), key, "a", "a1")
		close(backend.goOn)
		synctest.Wait()
		if a.all(3); !took {
			t.Error("it has no turn")
		}
	})
}
