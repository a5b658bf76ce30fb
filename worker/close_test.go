package worker_test

import (
	"testing"

	"github.com/fedsender/fedsender/worker"
)

func TestClose_OnlyWhatPrecedesSomethingThatWasSentStarts(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offerKeys(1, 1)
	i.offerKeys(2, 1) // waits for the first
	i.offer(3, 4)
	first, third := i.start(1), i.start(3)
	i.Close()
	i.waits()
	i.done(third, delivered)
	i.waits() // the fourth has room now
	i.done(first, delivered)
	i.try(2, delivered)
	i.waits()
	i.wantCursor(3)
}

func TestClose_WhatOneInboxHasGotTheOthersGet(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.Offer(job(1, "https://toad.example/u/1/inbox", "https://toad.example/u/2/inbox", "https://toad.example/u/3/inbox"))
	i.offer(2)
	one := i.start(1)
	i.Close()
	i.done(one, delivered)
	i.try(1, delivered)
	i.try(1, delivered)
	i.waits()
	i.wantCursor(1)
}

func TestClose_NothingIsWaitedForWhereNothingWasSent(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	i.Offer(redelivery(9))
	i.Close()
	i.waits()
	i.wantCursor(0)
}

func TestClose_WhatFailedIsNotWaitedFor(t *testing.T) {
	i := newInstance(t, worker.State{})
	i.offer(1, 2)
	first, second := i.start(1), i.start(2)
	i.done(second, delivered)
	i.done(first, failed)
	i.Close()
	i.waits()
	if !i.NextAt(i.now).After(i.now) {
		t.Error("it is tried again at once, so the test shows nothing")
	}
	i.wantCursor(0)
}
