package sender

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fedsender/fedsender/worker"
)

// forMany is how many instances a stage needs for something that does not hurry.
const forMany = few + 1

// toAll is a broadcast to every instance.
func (s *stage) toAll(id int64) { s.broadcast(id, s.held()...) }

func TestSave_NothingForManyStartsWhereWhatSettledIsUnsavedForASecond(t *testing.T) {
	onStage(t, forMany, func(s *stage) {
		s.broadcast(12, 1)
		time.Sleep(saveEvery - time.Millisecond)
		s.broadcast(13, 1)
		s.wantSent(1, 12, 13)
		time.Sleep(time.Millisecond)
		s.toAll(14)
		s.wantSent(1, 12, 13)
		s.wantSent(2, 14) // has nothing unsaved

		v, err := s.takeSaving(&round{turn: turnOf(1)})
		if err != nil {
			s.t.Fatal(err)
		}
		s.broadcast(15, 2) // settles after the save began, so it is not in it
		time.Sleep(saveEvery / 2)
		s.noteSaved(v, map[int32]bool{1: true, 2: true})
		synctest.Wait()
		s.wantSent(1, 12, 13, 14)
		s.wantSent(2, 14, 15)
		time.Sleep(saveEvery / 2)
		s.toAll(16)
		s.wantSent(1, 12, 13, 14, 16)
		s.wantSent(2, 14, 15)
		s.turn(2)
		synctest.Wait()
		s.wantSent(2, 14, 15, 16)
	})
}

func TestSave_WhatIsForFewStartsWhileLessThanTheWindowIsUnsaved(t *testing.T) {
	onStage(t, forMany, func(s *stage) {
		s.toAll(11)
		time.Sleep(saveEvery)
		s.toAll(12)
		s.wantSent(1, 11)
		s.broadcast(13, 1)
		s.wantSent(1, 11, 12, 13) // with what is before it
		release := s.hold()
		s.broadcast(14, 1)
		s.broadcast(15, 1) // 11 to 13 are unsaved and 14 is in flight: that is the window
		s.wantSent(1, 11, 12, 13, 14)
		release()
		s.wantSent(1, 11, 12, 13, 14)
		s.turn(noTurn)
		synctest.Wait()
		s.wantSent(1, 11, 12, 13, 14, 15)
	})
}

func TestSave_WithoutASaveWhatIsForFewStopsToo(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		s.broadcast(11, 1)
		time.Sleep(hurryUnsaved - time.Millisecond)
		s.broadcast(12, 1)
		time.Sleep(time.Millisecond)
		s.broadcast(13, 1)
		s.wantSent(1, 11, 12)
	})
}

// TestSave_WhatACrashSendsAgainIsBounded has a database that takes up to seconds for a save, or fails, at random.
func TestSave_WhatACrashSendsAgainIsBounded(t *testing.T) {
	late := 0
	for seed := range uint64(20) {
		onStage(t, forMany, func(s *stage) {
			draw := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) } // #nosec G404: to be repeated
			o := &owing{stage: s, random: draw(0), length: func(id int64) *rand.Rand { return draw(uint64(id)) }, ended: map[int64]time.Time{}}
			s.dispatcher.post, s.maxInFlight = o.post, 1000
			for id := range int64(400) {
				o.step(11 + id)
			}
			late += o.late
		})
	}
	if late < 20 {
		t.Errorf("%d deliveries started while an outcome was unsaved for a second", late)
	}
}

// owing counts by itself what would be sent again to instance 1.
type owing struct {
	*stage
	random *rand.Rand
	saving *saving
	length func(id int64) *rand.Rand // of the deliveries of an activity, whichever starts first
	taken  []int64                   // what it has

	// mu guards:
	ended map[int64]time.Time // what the database does not have; zero: it is in flight
	late  int                 // that started although something was unsaved for a second
}

// step broadcasts an activity, to one instance or to all, and begins or ends a save.
func (o *owing) step(id int64) {
	if o.random.IntN(3) == 0 {
		o.toAll(id)
	} else {
		o.broadcast(id, 1)
	}
	o.catchUp()
	time.Sleep(time.Duration(o.random.IntN(1000)) * time.Millisecond)
	synctest.Wait()
	switch {
	case o.random.IntN(4) > 0:
	case o.saving == nil:
		o.begin()
	case o.random.IntN(3) == 0:
		o.giveBack(o.saving)
		o.saving = nil
	default:
		o.mu.Lock()
		for _, id := range o.taken {
			delete(o.ended, id)
		}
		o.mu.Unlock()
		o.noteSaved(o.saving, map[int32]bool{1: true})
		o.saving = nil
	}
}

func (o *owing) begin() {
	var err error
	if o.saving, err = o.takeSaving(&round{ids: []int32{1}}); err != nil {
		o.t.Fatal(err)
	}
	o.taken = nil
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, at := range o.ended {
		if !at.IsZero() {
			o.taken = append(o.taken, id)
		}
	}
}

func (o *owing) post(_ context.Context, to *slot, d worker.Delivery) worker.Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	if to.id == 1 {
		o.ended[d.Activity.ID] = time.Time{}
		o.judge()
	}
	o.mu.Unlock()
	time.Sleep(time.Duration(o.length(d.Activity.ID).IntN(500)) * time.Millisecond)
	o.mu.Lock()
	if to.id == 1 {
		o.ended[d.Activity.ID] = time.Now()
	}
	return worker.Outcome{Class: worker.Delivered}
}

// judge is called when a delivery has started.
func (o *owing) judge() {
	lastSecond, longer := 0, false
	for _, at := range o.ended {
		if !at.IsZero() && time.Since(at) < saveEvery {
			lastSecond++
		}
		longer = longer || !at.IsZero() && time.Since(at) >= saveEvery
	}
	if longer {
		o.late++
	}
	if window := 4; len(o.ended) > window+lastSecond {
		o.t.Errorf("%d would be sent again, more than the window and the %d of the last second", len(o.ended), lastSecond)
	}
}
