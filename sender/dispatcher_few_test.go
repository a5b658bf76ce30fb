package sender

import (
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

func TestDispatcher_OneForFewIsNotBehindOneForAll(t *testing.T) {
	onStage(t, 300, func(s *stage) {
		s.maxInFlight = 1 // what is sent at one time is noted in any order
		release := s.hold()
		var all []int32
		for id := range int32(300) {
			all = append(all, id+1)
		}
		s.broadcast(11, all...) // one is in flight
		s.broadcast(12, 300)    // for the last in the queue, which has the other one before it
		s.broadcast(13, 1)      // for one that the other has reached
		for id := range int64(60) {
			s.broadcast(14+id, all[100+id])
		}
		release()
		if len(s.list) != 362 {
			t.Fatalf("%d were sent", len(s.list))
		}
		for _, id := range []int64{12, 13} {
			if at := slices.Index(s.list, id); at > 40 {
				t.Errorf("%d was sent as number %d: %v", id, at, s.list)
			}
		}
		// The others have their turns: half of all, besides those that are sent before one for few.
		if count := len(slices.DeleteFunc(slices.Clone(s.list[:200]), func(id int64) bool { return id != 11 })); count < 100 {
			t.Errorf("of the first 200 only %d are of the one for all: %v", count, s.list)
		}
	})
}

func TestDispatcher_OneForFewThatTheCatchUpBringsIsNotBehindOneForAll(t *testing.T) {
	onStage(t, 300, func(s *stage) {
		s.maxInFlight = 1
		release := s.hold()
		s.advance(12, time.Time{})
		inboxes := []worker.Inbox{{URL: "https://a.example/inbox"}}
		var all []*share
		for id := range int32(300) {
			to := s.slots[id+1]
			s.fallBehind(to)
			all = append(all, &share{place: place{slot: to, id: to.id, from: 10, at: 10, room: 2}, through: 12, wants: []want{{11, false, inboxes}}})
		}
		all[299].wants = append(all[299].wants, want{12, true, inboxes})
		s.serve(all, map[int64]*worker.Activity{11: {ID: 11}, 12: {ID: 12}}, nil)
		release()
		if at := slices.Index(s.list, 12); at < 0 || at > 10 {
			t.Errorf("it was sent as number %d of %d", at, len(s.list))
		}
	})
}

func TestDispatcher_OneForFewStartsWhileAllElseWaitsForOthersToEnd(t *testing.T) {
	onStage(t, 100, func(s *stage) {
		s.maxInFlight = 2 * reservedPart
		release := s.hold()
		var all []int32
		for id := range int32(100) {
			all = append(all, id+1)
		}
		s.broadcast(11, all...)
		if n := len(s.list); n != s.maxInFlight-2 {
			t.Errorf("%d were started of %d at most", n, s.maxInFlight)
		}
		s.broadcast(12, 1)
		if last := s.list[len(s.list)-1]; last != 12 {
			t.Errorf("the last that was started is %d of %v", last, s.list)
		}
		release()
		if len(s.list) != 101 {
			t.Errorf("%d were sent", len(s.list))
		}
	})
}
