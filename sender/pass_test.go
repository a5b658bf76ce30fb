package sender

import (
	"slices"
	"testing"
)

// turn saves what the turn of an instance brings and says that the database has taken it.
func (s *stage) turn(id int32) *saving {
	s.t.Helper()
	v, err := s.takeSaving(&round{turn: turnOf(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	saved := map[int32]bool{}
	for _, one := range slices.Concat(v.slots, v.passed) {
		saved[one.id] = true
	}
	if moved := s.noteSaved(v, saved); len(moved) > 0 {
		s.t.Errorf("%v count as moved by somebody else", moved)
	}
	return v
}

func TestSave_InstancesThatTheHeadPassedAreWrittenTogetherAndOnce(t *testing.T) {
	onStage(t, 3, func(s *stage) {
		s.broadcast(12, 2)
		s.broadcast(14)
		if v := s.turn(1); !slices.Equal(slices.Sorted(slices.Values(v.Passed.InstanceIDs)), []int32{1, 3}) || v.Passed.Cursor != 14 || !slices.Equal(v.Passed.Expected, []int64{10, 10}) {
			t.Errorf("passed: %+v", v.Passed)
		} else if len(v.Checkpoints) != 1 || v.Checkpoints[0].InstanceID != 2 || v.Checkpoints[0].Cursor != 14 {
			t.Errorf("checkpoints: %+v", v.Checkpoints)
		}
		if v := s.turn(1); !v.Empty() {
			t.Errorf("written again: %+v", v.Saving)
		}
	})
}

func TestSave_InstanceThatWaitsForSomethingIsNotPassed(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		release := s.hold()
		s.broadcast(12, 1)
		s.broadcast(14)
		if v := s.turn(1); len(v.Passed.InstanceIDs) > 0 {
			t.Errorf("passed: %+v", v.Passed)
		}
		release()
		s.wantCursor(1, 14)
	})
}

func TestSave_PassedInstanceThatSomebodyMovedIsNoticed(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		s.broadcast(14)
		v, err := s.takeSaving(&round{turn: turnOf(1)})
		if err != nil {
			t.Fatal(err)
		}
		if moved := s.noteSaved(v, map[int32]bool{}); !slices.Equal(moved, []int32{1}) {
			t.Errorf("%v count as moved, want instance 1", moved)
		}
	})
}
