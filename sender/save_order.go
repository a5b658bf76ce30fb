package sender

import (
	"slices"
	"time"
)

// round is one save, which is written in parts.
type round struct {
	ids     []int32 // nil: all that changed, and those of the turn that only moved by rule
	turn    int
	refused map[int32]bool // the database did not take their cursors

	ordered        bool
	changed, moved []*slot // what is left of them
}

// turnOf is when the cursor of an instance is written that only moved by rule.
func turnOf(id int32) int { return int(id) / idleBlock % idleEvery }

// unsavedSlot is a slot whose state is not as the database has it, as it was when the save began.
type unsavedSlot struct {
	slot         *slot
	refused      bool
	unsavedSince time.Time
}

// order chooses what the save writes. Those that nothing may be sent to soon come first, and last those whose cursor the
// database did not take before: they would be the oldest for as long as somebody keeps their rows locked.
func (d *dispatcher) order(r *round) {
	unsaved := d.unsavedSlots(r)
	if len(unsaved) > hurriedCheckpoints { // tens of thousands take 20 ms, for which no delivery should wait
		slices.SortFunc(unsaved, unsavedSlot.compare)
	}
	for _, u := range unsaved {
		r.changed = append(r.changed, u.slot)
	}
	r.ordered = true
}

// unsavedSlots are those that changed. What only moved goes into r.
func (d *dispatcher) unsavedSlots(r *round) (unsaved []unsavedSlot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, s := range d.slots {
		switch {
		case s.worker.Version() != s.savedVersion:
			unsaved = append(unsaved, unsavedSlot{s, s.refused, s.unsavedSince})
		case turnOf(id) == r.turn && d.moved(s):
			r.moved = append(r.moved, s)
		}
	}
	return unsaved
}

func (u unsavedSlot) compare(other unsavedSlot) int {
	switch {
	case u.refused != other.refused:
		return before(other.refused)
	case u.unsavedSince.IsZero() != other.unsavedSince.IsZero():
		return before(other.unsavedSince.IsZero())
	}
	return u.unsavedSince.Compare(other.unsavedSince)
}

func before(first bool) int {
	if first {
		return -1
	}
	return 1
}

// holdUp has the slot be among the first that are saved, if what waits for that is for few.
func (d *dispatcher) holdUp(s *slot) {
	if s.hurried == 0 || s.heldUp {
		return
	}
	s.heldUp = true
	d.heldUp = append(d.heldUp, s)
	select {
	case d.saveSoon <- struct{}{}:
	default:
	}
}

// hurries says that something for few waits until the slot is saved, and nothing is known that prevents that.
func (s *slot) hurries() bool { return s.heldUp && !s.refused && !s.dropped }

// takePart collects first those that hurry, also those that do only since the save began, then what is left of the order.
// None whose cursor the database did not take is in a later part of the same save.
func (d *dispatcher) takePart(v *saving, r *round) error {
	select {
	case <-d.saveSoon: // this is what was asked for
	default:
	}
	room := maxCheckpoints
	for _, s := range d.heldUp {
		if !s.hurries() {
			continue
		}
		if room = hurriedCheckpoints; len(v.slots) == room {
			v.more = true
			return nil
		}
		if err := d.collect(v, s); err != nil {
			return err
		}
	}
	full := func() bool { return len(v.slots)+len(v.passed) >= room }
	for ; len(r.changed) > 0 && !full(); r.changed = r.changed[1:] {
		s := r.changed[0]
		if s.dropped || s.hurries() || r.refused[s.id] || s.worker.Version() == s.savedVersion {
			continue
		}
		if err := d.collect(v, s); err != nil {
			return err
		}
	}
	for ; len(r.moved) > 0 && !full(); r.moved = r.moved[1:] {
		s := r.moved[0]
		if s.dropped || r.refused[s.id] || s.worker.Version() != s.savedVersion || !d.moved(s) || d.pass(v, s) {
			continue
		}
		if err := d.collect(v, s); err != nil {
			return err
		}
	}
	v.more = len(r.changed)+len(r.moved) > 0
	return nil
}
