package sender

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
)

const (
	// handoverPart is how many instances stop before their cursors are written and they are unlocked: each waits for
	// the part that it is in (measured: 70 µs a cursor).
	handoverPart = 128
	// partPatience is how long a part waits for the answers of usual receivers before the next one stops too. The slow
	// ones are waited for beside the rest.
	partPatience = 50 * time.Millisecond
	// handoverSave is for cursors, also when the time for deliveries is over.
	handoverSave = 4 * time.Second
	// lockPatience is for another session that has locked a cursor, which is mostly over in an instant; the others of the
	// part wait too. It is tried again when they are gone. lockPause is between two looks.
	lockPatience = time.Second
	lockPause    = 20 * time.Millisecond
	// insistPause leaves the session to the heartbeat between two of these attempts.
	insistPause = 100 * time.Millisecond
)

// handover gives instances up: it lets what is in flight end, writes the cursors and says what may be unlocked, part by part,
// so that none stands still for the others.
type handover struct {
	engine   *engine
	released func(part []int32)
	failed   []error
	fill     bool      // gaps between what was delivered are filled before
	leaves   bool      // it began when the process was told to end
	toldAt   time.Time // when that was seen, if it was later

	// passed are idle instances whose cursors were written right before: what the head has gone by since is not for them, and
	// who holds them next reads it again, together for all.
	passed map[int32]bool

	locked  []int32 // nothing is in flight, and somebody has locked their cursors: they are tried again at the end
	blocked bool    // nobody's cursor can be written at this moment

	open  map[int32]bool // draining, and not ended yet as far as this side knows
	ended []int32        // nothing is in flight any more; guarded by dispatcher.mu
	ready chan struct{}  // ended is not empty
}

func newHandover(e *engine, released func([]int32)) *handover {
	return &handover{engine: e, released: released, open: map[int32]bool{}, passed: map[int32]bool{}, ready: make(chan struct{}, 1)}
}

// end notes an instance that has nothing in flight. dispatcher.mu is held.
func (h *handover) end(id int32) {
	h.ended = append(h.ended, id)
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

// Release implements [lease.Handler]: nothing starts any more, what is in flight ends or is cancelled when ctx ends, the
// cursors are written. Busy instances come first, because they take longest.
func (e *engine) Release(ctx context.Context, ids []int32, released func(part []int32)) error {
	h := newHandover(e, released)
	h.leaves = e.ending()
	// Where the application has a sender of its own, that may be the one who goes on, by the cursors alone.
	h.fill = h.leaves && e.source.Load().StopsOnMovedCursor
	busy, idle := e.dispatcher.byLoad(ids)
	for len(busy) > 0 {
		n := min(len(busy), handoverPart)
		h.stop(busy[:n])
		h.wait(ctx, partPatience)
		busy = busy[n:]
	}
	h.pass(ctx, idle)
	for len(idle) > 0 {
		n := min(len(idle), handoverPart)
		h.stop(idle[:n])
		h.giveUp(ctx)
		idle = idle[n:]
	}
	h.waitAll(ctx)
	h.insist(ctx)
	return errors.Join(h.failed...)
}

// pass writes cursors that only moved with the head, many at a time, while their instances still follow it. In parts, each
// would be written for itself. What fails is left to the parts.
func (h *handover) pass(ctx context.Context, idle []int32) {
	d := h.engine.dispatcher
	for trailing := d.unsavedOf(idle, nil); len(trailing) > handoverPart && ctx.Err() == nil; {
		n := min(len(trailing), maxCheckpoints)
		if h.save(ctx, trailing[:n], 0) != nil {
			return
		}
		for _, id := range trailing[:n] {
			h.passed[id] = true
		}
		trailing = trailing[n:]
	}
}

func (h *handover) stop(part []int32) {
	for _, id := range part {
		h.open[id] = true
	}
	h.engine.dispatcher.drain(part, h)
}

// wait gives up what ends until nothing is open, ctx ends, or for at most so long.
func (h *handover) wait(ctx context.Context, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(h.open) > 0 {
		select {
		case <-h.ready:
			h.giveUp(ctx)
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		}
	}
}

// waitAll waits for the last one, and cancels what is in flight when ctx ends.
func (h *handover) waitAll(ctx context.Context) {
	over := ctx.Done()
	for len(h.open) > 0 {
		select {
		case <-h.ready:
			h.giveUp(ctx)
		case <-over:
			over = nil
			for id := range h.open {
				if h.engine.dispatcher.cancel(id) && h.engine.ending() {
					h.engine.left.cut.Add(1)
				}
			}
		}
	}
}

// giveUp writes the cursors of what has ended and forgets it.
func (h *handover) giveUp(ctx context.Context) {
	e := h.engine
	part := e.dispatcher.takeEnded(h)
	if len(part) == 0 {
		return
	}
	if unsaved := e.dispatcher.unsavedOf(part, h.passed); h.blocked {
		part = h.putOff(part, unsaved)
	} else if len(unsaved) > 0 {
		err := h.save(ctx, unsaved, lockPatience)
		locked, waits := lockedOf(err, unsaved)
		switch {
		case err == nil:
		case waits:
			h.blocked = !errors.Is(err, errLocked)
			part = h.putOff(part, locked)
		default:
			h.fail(err, unsaved)
		}
	}
	h.release(part)
}

// lockedOf are those of the instances whose cursors were not written because somebody keeps them, or all, locked: that ends.
func lockedOf(err error, ids []int32) (locked []int32, waits bool) {
	var some *lockedError
	switch {
	case errors.As(err, &some):
		return some.ids, true
	case pg.IsTimeout(err) && !errors.Is(err, pg.ErrSessionLost):
		return ids, true
	}
	return nil, false
}

// putOff keeps locked instances of a part for the end, and returns the others.
func (h *handover) putOff(part, locked []int32) (others []int32) {
	h.locked = append(h.locked, locked...)
	for _, id := range locked {
		delete(h.open, id) // nothing is in flight
	}
	return slices.DeleteFunc(part, func(id int32) bool { return slices.Contains(locked, id) })
}

// insist tries to write the cursors that were locked until that succeeds or is over, and once more then.
func (h *handover) insist(ctx context.Context) {
	for len(h.locked) > 0 {
		over := h.over(ctx)
		part := slices.Clone(h.locked[:min(len(h.locked), handoverPart)])
		h.locked = h.locked[len(part):]
		err := h.save(ctx, part, 0)
		locked, waits := lockedOf(err, part)
		if waits && !over {
			h.release(h.putOff(part, locked))
			pause(context.WithoutCancel(ctx), insistPause)
			continue
		}
		if err != nil && !errors.Is(err, errLocked) { // it is the same for those that are left
			part, h.locked = append(part, h.locked...), nil
		}
		if err != nil {
			h.fail(err, part)
		}
		h.release(part)
	}
}

// over says whether locked cursors are waited for no longer. A process that goes on has no reason not to, as long as its leases
// last: it would send nothing that it can't save either, and the next holder would send again what is not saved.
func (h *handover) over(ctx context.Context) bool {
	switch {
	case h.engine.dispatcher.leasesLost():
		return true // ctx may have ended before, and does not tell
	case h.leaves:
		return ctx.Err() != nil
	case !h.engine.ending():
		return false
	case h.toldAt.IsZero():
		h.toldAt = time.Now()
	}
	return time.Since(h.toldAt) >= h.engine.config.ShutdownTimeout
}

// fail notes cursors that were not written.
func (h *handover) fail(err error, ids []int32) {
	e := h.engine
	h.failed = append(h.failed, err)
	if e.ending() || errors.Is(err, pg.ErrSessionLost) { // else the session that goes on may make up for it
		e.left.unwritten.Add(e.dispatcher.unwritten(ids))
	}
}

// release says that instances may be unlocked.
func (h *handover) release(part []int32) {
	if len(part) == 0 {
		return
	}
	h.remove(part)
	for _, id := range part {
		delete(h.open, id)
	}
	h.engine.metrics.LeasesGiven(len(part))
	h.released(part)
}

// remove forgets instances. It waits for a save that writes their cursors: behind the unlock that would move a cursor that
// somebody else has read, who must take it for another program's doing.
func (h *handover) remove(part []int32) {
	e := h.engine
	if e.dispatcher.remove(part) {
		return
	}
	e.saveMu.Lock()
	defer e.saveMu.Unlock()
	e.dispatcher.remove(part)
}

// save writes cursors, also when the time for deliveries is over. For those that somebody has locked it waits as long as
// patience says.
func (h *handover) save(ctx context.Context, ids []int32, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handoverSave)
	defer cancel()
	for began := time.Now(); ; {
		err := h.engine.save(ctx, ids, 0)
		if !errors.Is(err, errLocked) || time.Since(began) >= patience {
			return err
		}
		pause(ctx, lockPause)
	}
}

// leasesLost says whether the leases are lost, or there are none.
func (d *dispatcher) leasesLost() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deliver == nil || d.deliver.Err() != nil
}

// byLoad tells instances that have something in flight from the others.
func (d *dispatcher) byLoad(ids []int32) (busy, idle []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil && s.inFlight > 0 {
			busy = append(busy, id)
		} else {
			idle = append(idle, id)
		}
	}
	return busy, idle
}

// drain stops slots from starting anything, but for gaps where those are to be filled. h is told of each that has nothing in
// flight, at once or when it ends.
func (d *dispatcher) drain(ids []int32, h *handover) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		s := d.slots[id]
		if s == nil {
			h.end(id)
			continue
		}
		s.draining, s.wasBehind = true, s.behind
		// What the head reads from here on is for the next holder: no save may count it as settled.
		d.leaveHead(s)
		s.handover = h
		if h.fill && d.deliver != nil && d.deliver.Err() == nil {
			s.worker.Close()
			s.closing = true // nothing is saved meanwhile: there are few gaps, and the end saves them
			d.look(s, clock())
		} else {
			d.endIdle(s)
		}
	}
	if h.fill {
		d.dispatch()
	}
}

// endIdle tells who waits for it that a slot has nothing in flight.
func (d *dispatcher) endIdle(s *slot) {
	if s.handover != nil && s.inFlight == 0 {
		s.handover.end(s.id)
		s.handover, s.closing = nil, false
	}
}

func (d *dispatcher) takeEnded(h *handover) []int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	part := h.ended
	h.ended = nil
	return part
}

// unsavedOf returns those of which the database does not know all, passed ones only where something was meant for them.
func (d *dispatcher) unsavedOf(ids []int32, passed map[int32]bool) (unsaved []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil && (s.worker.Version() != s.savedVersion || d.moved(s) && !passed[id] || !s.worker.Idle()) {
			unsaved = append(unsaved, id)
		}
	}
	return unsaved
}

// cancel ends what an instance has in flight, if there is something.
func (d *dispatcher) cancel(id int32) (inFlight bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slots[id]
	if s == nil {
		return false
	}
	s.closing = false
	d.endIdle(s)
	if s.cancel == nil {
		return false
	}
	s.cancel()
	return s.inFlight > 0
}
