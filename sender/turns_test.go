package sender

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// work is which of the instances 1 to 3, all owned, have some.
func (s *stage) work() []int32 {
	return slices.Sorted(maps.Keys(s.waiting([]int32{1, 2, 3}, time.Now())))
}

func (s *stage) wantWork(want ...int32) {
	s.t.Helper()
	if got := s.work(); !slices.Equal(got, want) {
		s.t.Errorf("%v have work, want %v", got, want)
	}
}

func TestTurns_WorkOfWhatIsNotHeldIsNotedOnceAndOnlyOfWhatIsOwned(t *testing.T) {
	onStage(t, 0, func(s *stage) {
		s.turns.note(1, time.Now())
		s.wantWork() // until the keeper has asked everything is held
		began := time.Now()
		s.turns.note(1, began)
		s.turns.note(9, began)
		if !s.turns.fresh || len(s.turns.since) != 1 {
			t.Errorf("noted %v", s.turns.since)
		}
		s.turns.note(2, began.Add(time.Hour)) // its next try
		<-time.After(time.Minute)
		s.turns.note(1, time.Now())
		s.turns.note(2, time.Now())
		if got := s.waiting([]int32{1, 2, 3}, time.Now()); len(got) != 1 || !got[1].Equal(began) {
			t.Errorf("waiting are %v", got)
		}
		s.noteNow([]int32{2}, time.Now()) // somebody wants it tried at once
		s.wantWork(1, 2)
		s.waiting([]int32{2, 3}, time.Now()) // another process owns 1
		s.wantWork(2)
		s.waiting(nil, time.Now())
		s.wantWork()
	})
}

func TestTurns_WhatIsHeldHasWorkWhileSomethingMayBeSent(t *testing.T) {
	onStage(t, 3, func(s *stage) {
		s.wantWork()
		release := s.hold()
		s.broadcast(11, 1)
		s.wantWork(1)
		release()
		s.wantWork()
		s.change([]int32{2}, func(sl *slot, now time.Time) {
			sl.pausedUntil = now.Add(time.Hour)
			s.settlePause(sl, now)
		})
		s.broadcast(12, 2)
		s.wantWork()
	})
}

func TestTurns_RestOfWhatIsGivenUpIsRemembered(t *testing.T) {
	onStage(t, 3, func(s *stage) {
		s.wantWork()
		release := s.hold()
		for id := int64(11); id <= 16; id++ {
			s.broadcast(id, 1)
		}
		s.broadcast(17, 2)
		s.drain([]int32{1, 2, 3}, newHandover(nil, nil))
		release()
		synctest.Wait()
		s.remove([]int32{1, 2, 3})
		s.wantWork(1) // 2 had no more than what was in flight
		s.take(1, 14)
		for s.catchUp() > 0 {
		}
		s.wantWork()
	})
}

func TestTurns_WhatWasGivenUpWhileABodyWasReadIsRemembered(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.wantWork()
		s.drain([]int32{1, 2}, newHandover(nil, nil))
		s.broadcast(11, 1) // found before
		s.remove([]int32{1})
		s.broadcast(12, 1, 2)
		s.remove([]int32{2})
		s.wantWork(1, 2)
		s.wantSent(1)
	})
}

func TestTurns_WhatIsReadDuringTheHandOverIsRemembered(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.wantWork()
		s.drain([]int32{1, 2}, newHandover(nil, nil))
		s.mu.Lock()
		s.wants(1, time.Now())
		s.mu.Unlock()
		s.remove([]int32{1, 2})
		s.wantWork(1)
	})
}
