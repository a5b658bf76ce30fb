package sender

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSave_TheFirstAreThoseWhereSomethingForFewWaits has more instances than one save takes, all with an outcome that was
// not saved for too long.
func TestSave_TheFirstAreThoseWhereSomethingForFewWaits(t *testing.T) {
	const count, last = maxCheckpoints + 100, maxCheckpoints + 50
	onStage(t, count, func(s *stage) {
		var all []int32
		for id := range int32(count) {
			all = append(all, id+1)
		}
		s.broadcast(11, all...)
		time.Sleep(saveEvery)
		s.change([]int32{7}, func(s *slot, now time.Time) { s.unsavedSince = now.Add(-time.Minute) })
		s.broadcast(12, last)
		s.wantSent(last, 11)
		select {
		case <-s.saveSoon:
		default:
			t.Error("nobody is told that a reply waits for a save")
		}
		v := s.turn(last)
		if len(v.slots) != maxCheckpoints || !v.more {
			t.Errorf("%d are saved, more %v", len(v.slots), v.more)
		}
		if v.slots[0].id != last || v.slots[1].id != 7 {
			t.Errorf("the first are %d and %d", v.slots[0].id, v.slots[1].id)
		}
		synctest.Wait()
		s.wantSent(last, 11, 12)
		if v = s.turn(noTurn); len(v.slots) != count-maxCheckpoints+1 || v.more {
			t.Errorf("then %d are saved, more %v", len(v.slots), v.more)
		}
	})
}
