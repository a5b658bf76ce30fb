package sender

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// postFunc makes one delivery. It returns when the outcome is known or ctx has ended.
type postFunc func(ctx context.Context, s *slot, d worker.Delivery) worker.Outcome

// dispatcher starts deliveries: it asks the workers of the instances that are held, by turns, so that none waits for
// another's backlog, and never has more in flight than the process may.
type dispatcher struct {
	post        postFunc
	maxInFlight int
	maxWindow   int

	mu    sync.Mutex
	slots map[int32]*slot
	// beginnings are those of instances whose states are being read.
	beginnings map[int32]*beginning
	ready      queue
	soon       queue // of those with something for few: every other turn is theirs
	soonNext   bool
	timers     timers
	rearm      chan struct{} // the first timer changed
	saveSoon   chan struct{} // a slot is held up
	heldUp     []*slot       // and these are
	inFlight   int
	deliver    context.Context // deliveries run under it; nil: no lease session
	group      *conc.WaitGroup
	failed     func(*panics.Recovered)

	head    int64     // all up to it has been offered to who is not behind
	headAt  time.Time // published_at there
	reading int64     // the head loop is about to offer up to it
	hungry  map[int32]*slot
	feed    chan struct{} // hungry is not empty, or the head moved
	behind  int
	arrived int64   // deliveries for those that were not behind, since the start
	density density // of all that were behind
	turns   turns
	unsaved pg.Saving // what no worker remembers until it is saved

	redeliveries map[int32]*slot // that may have more of them in the database than their workers have
	redelivered  int             // saves that deleted redeliveries

	// cursors are as the database had them when they were last read, or saved with what was delivered, of every instance ever
	// held here. Those that only passed with the head cover nothing that would be sent again.
	cursors  map[int32]int64
	setbacks []setback
}

const (
	// few is how many instances a reply with all whom it mentions goes to at most. What is for more comes after it, by turns,
	// and can have it: of those thousands nobody knows which was meant to be the first.
	few = 32
	// hurryWithin is how far below the head, in ids, an activity for few hurries that an instance gets by the catch-up: those
	// who have it fell behind a moment ago, or are new here. In a backlog nothing would be left for the rest to be slower than.
	hurryWithin = 1000
	// reservedPart of what may be in flight is kept for what is for few: they would wait for one of the others to end, and
	// those come to their ends together.
	reservedPart = 16
	// hurryUnsaved is how long an outcome may be unsaved where something for few starts: longer than it takes to save all of
	// tens of thousands. What takes longer is a database that takes nothing.
	hurryUnsaved = 5 * saveEvery
	// maxHurried is how many deliveries of an instance hurry because of one for few behind them. With more before it, it is
	// the instance that is slow.
	maxHurried = 16
)

func newDispatcher(config Config, post postFunc, failed func(*panics.Recovered)) *dispatcher {
	return &dispatcher{
		post: post, failed: failed, maxInFlight: config.MaxInFlight, maxWindow: config.MaxInFlightPerInstance,
		slots: map[int32]*slot{}, beginnings: map[int32]*beginning{}, hungry: map[int32]*slot{}, redeliveries: map[int32]*slot{}, cursors: map[int32]int64{},
		rearm: make(chan struct{}, 1), saveSoon: make(chan struct{}, 1), feed: make(chan struct{}, 1),
	}
}

// begin lets deliveries start under ctx.
func (d *dispatcher) begin(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deliver, d.group = ctx, &conc.WaitGroup{}
}

// reset drops everything at once: the lease session is gone. It returns when nothing is in flight any more.
func (d *dispatcher) reset() {
	d.mu.Lock()
	d.voidLetters(func(id int32) bool { return id != 0 })
	for _, s := range d.slots {
		d.drop(s)
	}
	clear(d.beginnings)
	d.heldUp = nil
	group := d.group
	d.deliver, d.group = nil, nil
	d.mu.Unlock()
	if group != nil {
		group.Wait()
	}
}

// drop forgets a slot and cancels what it has in flight.
func (d *dispatcher) drop(s *slot) {
	s.dropped = true
	if !s.draining {
		s.wasBehind = s.behind
	}
	d.turns.noteRest(s, clock())
	delete(d.slots, s.id)
	delete(d.hungry, s.id)
	delete(d.beginnings, s.id)
	delete(d.redeliveries, s.id)
	if s.behind {
		s.behind = false
		d.behind--
	}
	if !s.wakeAt.IsZero() {
		heap.Remove(&d.timers, s.timer)
		s.wakeAt = time.Time{}
	}
	if s.cancel != nil {
		s.cancel()
	}
	d.endIdle(s)
}

// fallBehind leaves the slot to the catch-up, at the position that it has.
func (d *dispatcher) fallBehind(s *slot) {
	if !s.behind {
		s.behind = true
		d.behind++
	}
}

// leaveHead ends that the slot's position follows the head.
func (d *dispatcher) leaveHead(s *slot) {
	if !s.behind {
		s.worker.Pass(d.head, d.headAt)
		d.fallBehind(s)
	}
}

// look is called after anything that may let a slot go on: it queues the slot and tells the catch-up if it wants more.
func (d *dispatcher) look(s *slot, now time.Time) {
	if s.dropped || s.draining && !s.closing {
		return
	}
	d.enqueue(s)
	if !s.closing && s.behind && !s.hungry && s.worker.Hungry(now) {
		s.hungry = true
		d.hungry[s.id] = s
		d.ring()
	}
}

func (d *dispatcher) ring() {
	select {
	case d.feed <- struct{}{}:
	default:
	}
}

// dispatch starts what may start. d.mu is held.
func (d *dispatcher) dispatch() {
	if d.deliver == nil || d.deliver.Err() != nil {
		return
	}
	now := clock()
	for d.inFlight < d.maxInFlight {
		s, hurries := d.next()
		if s == nil {
			return
		}
		if s.dropped || s.draining && !s.closing {
			continue
		}
		if s.mustBeSaved(now) && !s.closing { // noteSaved looks at those that were late
			d.holdUp(s)
			continue
		}
		delivery, ok := s.worker.Next(now)
		if !ok && s.closing {
			d.endIdle(s)
			continue
		}
		if !ok {
			d.setTimer(s, s.worker.NextAt(now))
			continue
		}
		d.start(s, delivery, now)
		s.hurried = max(0, s.hurried-1)
		if hurries && s.hurried > 0 {
			s.soon = true
			d.soon.putBack(s)
		}
		d.enqueue(s)
	}
}

// enqueue has the slot be asked for a delivery.
func (d *dispatcher) enqueue(s *slot) {
	if s.hurried > 0 && !s.soon {
		s.soon = true
		d.soon.push(s)
	}
	if !s.queued {
		s.queued = true
		d.ready.push(s)
	}
}

// hurry has what the slot was offered last, and what is before it, not wait for what is for many.
func (s *slot) hurry() { s.hurried = min(s.worker.Waiting(), maxHurried) }

// next takes a slot out of one of the queues, and of the other one the next time, so that neither waits for more than
// what is in its own. hurries says that it was in the one of those with something for few.
func (d *dispatcher) next() (s *slot, hurries bool) {
	d.soonNext = !d.soonNext
	reserved := d.inFlight >= d.maxInFlight-d.maxInFlight/reservedPart
	if d.soonNext || d.ready.empty() || reserved {
		if s := d.soon.pop(); s != nil {
			s.soon = false
			return s, true
		}
	}
	if reserved {
		return nil, false
	}
	if s = d.ready.pop(); s != nil {
		s.queued = false
	}
	return s, false
}

func (d *dispatcher) start(s *slot, delivery worker.Delivery, now time.Time) {
	s.meter.settle(now, s.inFlight)
	if s.inFlight == 0 {
		s.ctx, s.cancel = context.WithCancel(d.deliver)
	}
	d.inFlight++
	s.inFlight++
	ctx := s.ctx
	d.group.Go(func() {
		var outcome worker.Outcome
		if recovered := panics.Try(func() { outcome = d.post(ctx, s, delivery) }); recovered != nil {
			d.failed(recovered)
			outcome = worker.Outcome{Class: worker.Canceled}
		}
		d.finish(s, delivery, outcome)
	})
}

// finish gives an outcome to the worker. Outcomes of a dropped slot are forgotten: another process may have it.
func (d *dispatcher) finish(s *slot, delivery worker.Delivery, outcome worker.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	s.meter.settle(now, s.inFlight)
	switch {
	case outcome.Class != worker.Canceled:
		s.meter.delivered()
	case d.deliver != nil && d.deliver.Err() != nil:
		s.cutOff = true
	}
	d.inFlight--
	s.inFlight--
	if s.inFlight == 0 {
		s.cancel()
		s.ctx, s.cancel = nil, nil
	}
	if !s.dropped {
		s.worker.Done(now, delivery, outcome)
		if s.unsavedSince.IsZero() && s.worker.Version() != s.savedVersion {
			s.unsavedSince = time.Now()
		}
		d.look(s, now)
	}
	if !s.closing || s.dropped {
		d.endIdle(s)
	}
	d.dispatch()
}

// setTimer wakes the slot at a time; zero: nothing to wait for.
func (d *dispatcher) setTimer(s *slot, at time.Time) {
	switch {
	case at.Equal(s.wakeAt):
		return
	case s.wakeAt.IsZero():
		s.wakeAt = at
		heap.Push(&d.timers, s)
	case at.IsZero():
		heap.Remove(&d.timers, s.timer)
		s.wakeAt = at
		return
	default:
		s.wakeAt = at
		heap.Fix(&d.timers, s.timer)
	}
	if d.timers[0] == s {
		select {
		case d.rearm <- struct{}{}:
		default:
		}
	}
}

// runTimers wakes slots whose back-off or pause has ended. One timer serves them all.
func (d *dispatcher) runTimers(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.rearm:
		case <-timer.C:
		}
		timer.Reset(d.fire())
	}
}

// fire wakes who is due and returns how long the next one waits.
func (d *dispatcher) fire() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for len(d.timers) > 0 && !d.timers[0].wakeAt.After(now) {
		s := heap.Pop(&d.timers).(*slot)
		s.wakeAt = time.Time{}
		d.look(s, now)
	}
	d.dispatch()
	if len(d.timers) == 0 {
		return time.Hour
	}
	return d.timers[0].wakeAt.Sub(clock())
}

// remove forgets slots that were drained and, unless that failed, saved. It forgets none of them while a save that is under
// way writes the cursor of one.
func (d *dispatcher) remove(ids []int32) (done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil && s.saving {
			return false
		}
	}
	d.voidLetters(func(id int32) bool { return id != 0 && slices.Contains(ids, id) })
	for _, id := range ids {
		if s := d.slots[id]; s != nil {
			d.drop(s)
		}
	}
	return true
}

// change runs f for the slots with these ids that are held, and lets them go on.
func (d *dispatcher) change(ids []int32, f func(s *slot, now time.Time)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil && !s.draining {
			f(s, now)
			d.look(s, now)
		}
	}
	d.dispatch()
}

// held returns the ids of all slots.
func (d *dispatcher) held() []int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]int32, 0, len(d.slots))
	for id := range d.slots {
		ids = append(ids, id)
	}
	return ids
}
