package sender

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fedsender/fedsender/test/bubble"
)

// TestSave_TheFirstAreThoseWhereSomethingForFewWaits has more instances than one save takes, all with an outcome that was
// not saved for too long.
func TestSave_TheFirstAreThoseWhereSomethingForFewWaits(t *testing.T) {
	const count, last = hurriedCheckpoints + 100, hurriedCheckpoints + 50
	onStage(t, count, func(s *stage) {
		var all []int32
		for id := range int32(count) {
			all = append(all, id+1)
		}
		s.broadcast(11, all...)
		time.Sleep(hurryUnsaved)
		s.change([]int32{7}, func(s *slot, now time.Time) { s.unsavedSince = now.Add(-time.Minute) })
		s.broadcast(12, last)
		s.wantSent(last, 11)
		select {
		case <-s.saveSoon:
		default:
			t.Error("nobody is told that a reply waits for a save")
		}
		v := s.turn(last)
		if len(v.slots) != hurriedCheckpoints || !v.more {
			t.Errorf("%d are saved, more %v", len(v.slots), v.more)
		}
		if v.slots[0].id != last || v.slots[1].id != 7 {
			t.Errorf("the first are %d and %d", v.slots[0].id, v.slots[1].id)
		}
		synctest.Wait()
		s.wantSent(last, 11, 12)
		if v = s.turn(noTurn); len(v.slots) != count-hurriedCheckpoints+1 || v.more {
			t.Errorf("then %d are saved, more %v", len(v.slots), v.more)
		}
	})
}

// TestSave_ReplyKeepsItsPlaceUntilASaveSucceeds fails where a save that fails, or whose cursor is refused, costs a reply its place.
func TestSave_ReplyKeepsItsPlaceUntilASaveSucceeds(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.broadcast(11, 1, 2)
		time.Sleep(hurryUnsaved)
		s.broadcast(12, 1)
		v, err := s.takeSaving(&round{})
		if err != nil {
			t.Fatal(err)
		}
		s.giveBack(v) // it was not written
		if s := s.slots[1]; !s.hurries() {
			t.Error("a save that failed ends the hurry")
		}
		if v, err = s.takeSaving(&round{}); err != nil || v.slots[0].id != 1 {
			t.Fatalf("the first is %d, error %v", v.slots[0].id, err)
		}
		s.noteSaved(v, map[int32]bool{2: true})
		if s := s.slots[1]; !s.heldUp || s.hurries() {
			t.Errorf("after it was refused: held up %v, hurries %v", s.heldUp, s.hurries())
		}
		s.turn(noTurn)
		if s.slots[1].heldUp || len(s.heldUp) > 0 {
			t.Error("it is held up although it was saved")
		}
	})
}

func TestSave_CursorsThatWereRefusedComeLastTheNextTime(t *testing.T) {
	const count, locked = hurriedCheckpoints + 100, hurriedCheckpoints + 50
	onStage(t, count, func(s *stage) {
		for id := range int32(count) {
			s.slots[id+1].worker.RetryNow()
			if id < locked {
				s.slots[id+1].refused, s.slots[id+1].unsavedSince = true, time.Now().Add(-time.Hour)
			}
		}
		v := s.turn(noTurn)
		for i, one := range v.slots {
			if free := one.id > locked; free != (i < count-locked) {
				t.Fatalf("place %d has instance %d", i, one.id)
			}
		}
	})
}

// saves runs saveOften for so long of a bubble's time. It returns when saves began, and when those with a turn did.
func saves(t *testing.T, most time.Duration, soon chan struct{}, save func() error) (all, turns []time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	began := time.Now()
	saveOften(ctx, soon, func(turn int) error {
		all = append(all, time.Since(began))
		if turn != noTurn {
			if turn != len(turns)%idleEvery {
				t.Errorf("turn %d after %d", turn, len(turns))
			}
			turns = append(turns, time.Since(began))
		}
		return save()
	})
	return all, turns
}

func ask(soon chan<- struct{}) {
	select {
	case soon <- struct{}{}:
	default:
	}
}

func TestSaves_IdleCursorsHaveTheirTurnAlthoughRepliesWaitAllTheTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		soon := make(chan struct{}, 1)
		_, turns := saves(t, time.Minute, soon, func() error {
			time.Sleep(130 * time.Millisecond)
			ask(soon)
			return nil
		})
		if len(turns) < 50 {
			t.Errorf("%d turns in a minute", len(turns))
		}
	})
}

func TestSaves_QuickOnesAreASecondApart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		all, turns := saves(t, time.Minute, nil, func() error { time.Sleep(5 * time.Millisecond); return nil })
		if len(all) != len(turns) || len(turns) < 59 || len(turns) > 61 {
			t.Errorf("%d saves, %d turns", len(all), len(turns))
		}
	})
}

func TestSaves_WhatFailsIsNotTriedAgainAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		soon := make(chan struct{}, 1)
		ask(soon)
		all, _ := saves(t, time.Minute, soon, func() error {
			ask(soon)
			return errors.New("down")
		})
		for i := range all[1:] {
			if lull := all[i+1] - all[i]; lull < saveLull {
				t.Fatalf("tried again after %v", lull)
			}
		}
		if len(all) < 500 {
			t.Errorf("%d tries in a minute", len(all))
		}
	})
}
