package sender

import (
	"slices"
	"time"
)

// wakeEvery is how often new work of instances that are not held may interrupt the rest of the keeper; each time costs a
// heartbeat.
const wakeEvery = time.Second

// turns remembers which instances have work of those that this process owns and does not hold, while there are more of
// them than it may hold: the head reads every activity, and nobody else will. It is guarded by dispatcher.mu.
type turns struct {
	own   []int32             // sorted; nil: all are held
	since map[int32]time.Time // when there was work first, or will be again
	fresh bool                // since the keeper was woken
	woken time.Time
}

// Waiting implements [lease.Waiter].
func (e *engine) Waiting(own []int32) map[int32]time.Time { return e.dispatcher.waiting(own, clock()) }

func (d *dispatcher) waiting(own []int32, now time.Time) map[int32]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &d.turns
	if t.own = own; own == nil {
		t.since = nil
		return nil
	}
	t.fresh, t.woken = false, now
	work := map[int32]time.Time{}
	for id, s := range d.slots {
		if s.hasWork(now) {
			work[id] = now
		}
	}
	for id, since := range t.since {
		if _, found := slices.BinarySearch(own, id); !found {
			delete(t.since, id)
		} else if !since.After(now) {
			work[id] = since
		}
	}
	return work
}

// hasWork says whether there is something to do for an instance that is held. One that waits for its next try has none
// until then.
func (s *slot) hasWork(now time.Time) bool {
	if s.stopped(now) {
		return false
	}
	at := s.worker.NextAt(now)
	return s.inFlight > 0 || s.behind && s.worker.Room(now) > 0 || !at.IsZero() && !at.After(now)
}

// wants says whether the head should offer an activity to an instance that it is for. Of the others it notes that there is
// work. d.mu is held.
func (d *dispatcher) wants(id int32, now time.Time) bool {
	s := d.slots[id]
	switch {
	case s == nil:
		d.turns.note(id, now)
		return false
	case s.draining:
		s.missed = true
		return false
	}
	return !s.behind
}

// note remembers that an instance which is not held has work from a time on, unless some was known. It leaves out those
// that other processes own.
func (t *turns) note(id int32, at time.Time) {
	if _, known := t.since[id]; known || t.own == nil {
		return
	}
	if _, found := slices.BinarySearch(t.own, id); found {
		t.set(id, at)
	}
}

func (t *turns) set(id int32, at time.Time) {
	if t.since == nil {
		t.since = map[int32]time.Time{}
	}
	t.since[id] = at
	t.fresh = true
}

// noteRest remembers what is left to do for an instance that is about to be dropped.
func (t *turns) noteRest(s *slot, now time.Time) {
	if t.own == nil {
		return
	}
	delete(t.since, s.id)
	at := s.worker.NextAt(now)
	switch {
	case s.stopped(now):
		if s.wasBehind || !s.worker.Idle() {
			t.note(s.id, s.until())
		}
	case !at.IsZero():
		t.note(s.id, at)
	case s.wasBehind || s.missed || !s.worker.Idle():
		t.note(s.id, now)
	}
}

// noteNow remembers that something was changed for instances, whatever they waited for, or that they came into being:
// of those nobody knows yet who owns them.
func (d *dispatcher) noteNow(ids []int32, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if d.slots[id] == nil && d.turns.own != nil {
			d.turns.set(id, now)
		}
	}
}

// wakes says whether the keeper should look at once.
func (t *turns) wakes(now time.Time) bool {
	if !t.fresh || now.Sub(t.woken) < wakeEvery {
		return false
	}
	t.fresh, t.woken = false, now
	return true
}
