package sender

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sourcegraph/conc/panics"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/bubble"
	"github.com/fedsender/fedsender/worker"
)

// stage is a dispatcher without a database, in a bubble: what it sends waits until the test lets it end.
type stage struct {
	*dispatcher
	t    *testing.T
	stop context.CancelFunc
	// gate holds deliveries back while it is not nil; closing it lets them end.
	gate chan struct{}
	sent map[int32][]int64 // instance → activities, as they were started
	list []int64           // activities, as they were started
	cut  int               // deliveries whose context ended
}

// onStage runs f with a stage that has instances 1 to n at the cursor 10, where the head is too.
func onStage(t *testing.T, n int32, f func(s *stage)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		s := &stage{t: t, sent: map[int32][]int64{}}
		s.dispatcher = newDispatcher(Config{MaxInFlight: 10, MaxInFlightPerInstance: 4}, s.post, func(r *panics.Recovered) { t.Error(r) })
		var ctx context.Context
		ctx, s.stop = context.WithCancel(t.Context())
		s.advance(10, time.Time{})
		s.begin(ctx)
		for id := range n {
			s.take(id+1, 10)
		}
		f(s)
		s.reset()
		s.stop()
	})
}

func newTestSlot(id int32, cursor int64) *slot {
	w := worker.New(worker.State{Cursor: cursor}, worker.Limits{MaxWindow: 4, MaxPending: 2}, time.Time{}, uint64(id))
	return &slot{id: id, worker: w, savedCursor: cursor, savedVersion: w.Version()}
}

// take begins with an instance, as after its lease was taken.
func (s *stage) take(id int32, cursor int64) *slot {
	fresh := newTestSlot(id, cursor)
	s.add(s.expect([]int32{id}, false), []*slot{fresh})
	return fresh
}

func (s *stage) post(ctx context.Context, to *slot, d worker.Delivery) worker.Outcome {
	s.mu.Lock()
	s.sent[to.id] = append(s.sent[to.id], d.Activity.ID)
	s.list = append(s.list, d.Activity.ID)
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cut++
			return worker.Outcome{Class: worker.Canceled}
		}
	}
	return worker.Outcome{Class: worker.Delivered}
}

// hold keeps deliveries from ending until the returned function is called.
func (s *stage) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
		synctest.Wait()
	}
}

func row(id int64) *pg.Activity { return &pg.Activity{ID: id} }

// broadcast is what the head does with an activity for the instances.
func (s *stage) broadcast(id int64, instances ...int32) {
	var found []target
	for _, i := range instances {
		found = append(found, target{i, []worker.Inbox{{URL: "https://a.example/inbox"}}})
	}
	s.setReading(id)
	s.offer(&worker.Activity{ID: id}, row(id), found)
	s.advance(id, time.Time{})
	synctest.Wait()
}

// catchUp is what the catch-up does, where every activity is meant for everybody. It returns how many were behind.
func (s *stage) catchUp() int {
	places, end := s.takeHungry(nil)
	for _, p := range places {
		bodies := map[int64]*worker.Activity{}
		sh := &share{place: p, through: end}
		for id := p.at + 1; id <= end; id++ {
			if len(sh.wants) == p.room {
				sh.through = id - 1
				break
			}
			sh.wants = append(sh.wants, want{id, false, []worker.Inbox{{URL: "https://a.example/inbox"}}})
			bodies[id] = &worker.Activity{ID: id}
		}
		s.serve([]*share{sh}, bodies, nil)
	}
	synctest.Wait()
	return len(places)
}

// cursor is what a save of one instance would write.
func (s *stage) cursor(id int32) int64 {
	s.t.Helper()
	v, err := s.takeSaving(&round{ids: []int32{id}})
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case len(v.Checkpoints) == 1 && len(v.Passed.InstanceIDs) == 0:
		return v.Checkpoints[0].Cursor
	case len(v.Checkpoints) == 0 && len(v.Passed.InstanceIDs) == 1:
		return v.Passed.Cursor
	}
	s.t.Fatalf("%d checkpoints and %d that were passed, want one", len(v.Checkpoints), len(v.Passed.InstanceIDs))
	return 0
}

// wantSent does not look at the order: these activities do not conflict.
func (s *stage) wantSent(id int32, want ...int64) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent := slices.Sorted(slices.Values(s.sent[id])); !slices.Equal(sent, want) {
		s.t.Errorf("instance %d was sent %d, want %d", id, sent, want)
	}
}

func (s *stage) wantCursor(id int32, want int64) {
	s.t.Helper()
	if got := s.cursor(id); got != want {
		s.t.Errorf("the cursor of instance %d is %d, want %d", id, got, want)
	}
}

func TestDispatcher_CursorsOfThoseThatNothingIsMeantForFollowTheHead(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.broadcast(11, 1)
		s.wantSent(1, 11)
		s.wantSent(2)
		s.wantCursor(1, 11)
		s.wantCursor(2, 11)
	})
}

func TestDispatcher_CursorStaysBeforeWhatIsInFlight(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		release := s.hold()
		s.broadcast(11, 1)
		s.broadcast(12)
		s.wantCursor(1, 10)
		release()
		s.wantCursor(1, 12)
	})
}

func TestDispatcher_InstanceWithoutRoomIsBehindUntilTheCatchUpHasReachedTheHead(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		release := s.hold()
		for id := int64(11); id <= 30; id++ {
			s.broadcast(id, 1)
		}
		if s.count().behind != 1 {
			t.Fatal("20 activities had room")
		}
		if cursor := s.cursor(1); cursor != 10 {
			t.Errorf("the cursor is %d although nothing is settled", cursor)
		}
		release()
		for s.catchUp() > 0 {
		}
		s.broadcast(31, 1)
		s.wantSent(1, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31)
		if s.count().behind != 0 {
			t.Error("it is still behind")
		}
		s.wantCursor(1, 31)
	})
}

func TestDispatcher_InstanceThatCatchesUpWhileABatchIsOfferedGetsEachActivityOnce(t *testing.T) {
	onStage(t, 0, func(s *stage) {
		s.setReading(13) // the head has a batch of three
		s.take(1, 10)
		if s.catchUp() != 1 || s.catchUp() != 0 {
			t.Fatal("it did not catch up")
		}
		for id := int64(11); id <= 13; id++ {
			s.offer(&worker.Activity{ID: id}, row(id), []target{{1, []worker.Inbox{{URL: "https://a.example/inbox"}}}})
		}
		s.advance(13, time.Time{})
		synctest.Wait()
		s.wantSent(1, 11, 12, 13)
		s.wantCursor(1, 13)
	})
}

func TestDispatcher_InstanceThatIsAheadOfTheHeadIsSentNothingAgain(t *testing.T) {
	onStage(t, 0, func(s *stage) {
		s.take(1, 12) // by another process, whose head was further on
		s.wantCursor(1, 12)
		for id := int64(11); id <= 13; id++ {
			s.broadcast(id, 1)
		}
		s.wantSent(1, 13)
		s.wantCursor(1, 13)
	})
}

func TestDispatcher_InstanceThatIsHandedOverLeavesToTheNextHolderWhatIsReadMeanwhile(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.broadcast(12)
		s.drain([]int32{2}, newHandover(nil, nil))
		s.broadcast(14, 2)
		s.wantSent(2)
		s.wantCursor(1, 14)
		s.wantCursor(2, 12)
	})
}

func TestDispatcher_DrainWaitsForWhatIsInFlightAndStartsNothing(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		release := s.hold()
		for id := int64(11); id <= 16; id++ {
			s.broadcast(id, 1)
		}
		h := newHandover(nil, nil)
		s.drain([]int32{1}, h)
		if ended := s.takeEnded(h); len(ended) > 0 {
			t.Error("does not wait for what is in flight")
		}
		release()
		<-h.ready
		s.wantSent(1, 11, 12, 13, 14)
		s.wantCursor(1, 14)
	})
}

func TestDispatcher_DrainThatFillsGapsStartsNothingElse(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		release := s.hold()
		for id := int64(11); id <= 16; id++ {
			s.broadcast(id, 1)
		}
		h := newHandover(nil, nil)
		h.fill = true
		s.drain([]int32{1, 2}, h)
		if ended := s.takeEnded(h); !slices.Equal(ended, []int32{2}) {
			t.Errorf("%d have ended, want the idle one", ended)
		}
		release()
		<-h.ready
		s.wantSent(1, 11, 12, 13, 14)
		s.wantCursor(1, 14)
	})
}

func TestDispatcher_CancelEndsADrainThatFillsGaps(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		s.hold()
		s.broadcast(11, 1)
		s.broadcast(12, 1)
		h := newHandover(nil, nil)
		h.fill = true
		s.drain([]int32{1}, h)
		s.dispatcher.cancel(1)
		<-h.ready
		s.wantCursor(1, 10)
	})
}

func TestDispatcher_LossOfTheSessionEndsADrainThatFillsGaps(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		s.hold()
		s.broadcast(11, 1)
		h := newHandover(nil, nil)
		h.fill = true
		s.drain([]int32{1}, h)
		s.reset()
		<-h.ready
	})
}

func TestDispatcher_CancelEndsWhatADrainWaitsFor(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		s.hold()
		s.broadcast(11, 1)
		h := newHandover(nil, nil)
		s.drain([]int32{1}, h)
		s.dispatcher.cancel(1)
		<-h.ready
		s.wantCursor(1, 10)
		if s.cut != 1 {
			t.Errorf("%d deliveries were cut off, want 1", s.cut)
		}
	})
}

func TestDispatcher_PausedInstanceStandsStillAndGetsEverythingAfterwards(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		pause := func(d time.Duration) {
			s.change([]int32{1}, func(one *slot, now time.Time) {
				one.pausedUntil = now.Add(d)
				s.settlePause(one, now)
			})
		}
		pause(time.Hour)
		for id := int64(11); id <= 13; id++ {
			s.broadcast(id, 1)
		}
		if s.catchUp() > 0 {
			t.Error("the catch-up reads for it")
		}
		s.wantSent(1)
		s.wantCursor(1, 10)
		ctx, cancel := context.WithCancel(s.t.Context())
		go s.runTimers(ctx)
		time.Sleep(time.Hour) // of the bubble
		synctest.Wait()
		for s.catchUp() > 0 {
		}
		cancel()
		s.wantSent(1, 11, 12, 13)
		s.wantCursor(1, 13)
	})
}

func TestDispatcher_InstanceThatIsReadAnewForgetsWhatItWasDoing(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		release := s.hold()
		s.broadcast(11, 1)
		reading := s.expect([]int32{1}, true)
		if again := s.add(reading, []*slot{newTestSlot(1, 11)}); len(again) > 0 { // an operator skipped
			t.Errorf("%v are to be read again", again)
		}
		synctest.Wait()
		release()
		s.wantCursor(1, 11)
		if c := s.count(); c.inFlight != 0 || c.slots != 1 {
			t.Errorf("%d in flight, %d instances", c.inFlight, c.slots)
		}
	})
}

func TestDispatcher_StateThatChangedWhileItWasReadIsReadAgain(t *testing.T) {
	onStage(t, 0, func(s *stage) {
		reading := s.expect([]int32{1}, false)
		s.touch([]int32{1})
		if again := s.add(reading, []*slot{newTestSlot(1, 10)}); !slices.Equal(again, []int32{1}) {
			t.Fatalf("%v are to be read again, want instance 1", again)
		}
		if held := s.held(); len(held) > 0 {
			t.Errorf("holds %v", held)
		}
		if again := s.add(reading, []*slot{newTestSlot(1, 10)}); len(again) > 0 || len(s.held()) != 1 {
			t.Errorf("%v are to be read again, holds %v", again, s.held())
		}
	})
}

func TestDispatcher_StateOfAnInstanceThatWasGivenUpMeanwhileIsNotBegunWith(t *testing.T) {
	onStage(t, 1, func(s *stage) {
		reading := s.expect([]int32{1}, true)
		s.drain([]int32{1}, newHandover(nil, nil))
		s.remove([]int32{1})
		s.take(1, 20) // leased anew, after another process moved it
		s.add(reading, []*slot{newTestSlot(1, 10)})
		s.wantCursor(1, 20)
	})
}

func TestDispatcher_LostSessionLeavesNothing(t *testing.T) {
	onStage(t, 2, func(s *stage) {
		s.hold()
		s.broadcast(11, 1, 2)
		s.addLetter(11, "javascript:", "of nobody")
		s.refuseHeld(11, []int32{1, 2}, "no key")
		s.unsaved.Letters = append(s.unsaved.Letters, pg.Letter{ActivityID: 11, InstanceID: 1})
		s.reset()
		if c := s.count(); c.slots != 0 || c.inFlight != 0 || c.behind != 0 {
			t.Errorf("%+v", c)
		}
		if n := len(s.unsaved.Letters); n != 1 || s.unsaved.Letters[0].InstanceID != 0 {
			t.Errorf("%d letters are kept, want the one that is of no instance", n)
		}
	})
}

func TestDispatcher_NoMoreInFlightThanTheProcessMay(t *testing.T) {
	onStage(t, 8, func(s *stage) {
		release := s.hold()
		for id := int64(11); id <= 14; id++ {
			s.broadcast(id, 1, 2, 3, 4, 5, 6, 7, 8)
		}
		if n := s.count().inFlight; n != 10 {
			t.Errorf("%d in flight, want 10", n)
		}
		for id, sent := range s.sent {
			if len(sent) > 2 {
				t.Errorf("instance %d was sent %d before others had their turn", id, sent)
			}
		}
		release()
		for id := int32(1); id <= 8; id++ {
			s.wantSent(id, 11, 12, 13, 14)
			s.wantCursor(id, 14)
		}
	})
}
