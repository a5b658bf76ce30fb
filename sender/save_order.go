package sender

import "slices"

// round is one save, which is written in parts.
type round struct {
	ids     []int32 // nil: all that changed, and those of the turn that only moved by rule
	turn    int
	refused map[int32]bool // the database did not take their cursors

	ordered        bool
	changed, moved []*slot // what is left of them
}

// order chooses what the save writes. Those that nothing may be sent to soon come first, and last those whose cursor the
// database did not take before: they would be the oldest for as long as somebody keeps their rows locked.
func (d *dispatcher) order(r *round) {
	r.ordered = true
	for id, s := range d.slots {
		switch {
		case s.worker.Version() != s.savedVersion:
			r.changed = append(r.changed, s)
		case int(id)%idleEvery == r.turn && d.moved(s):
			r.moved = append(r.moved, s)
		}
	}
	if len(r.changed) <= hurriedCheckpoints {
		return
	}
	slices.SortFunc(r.changed, func(a, b *slot) int {
		switch {
		case a.refused != b.refused:
			return before(b.refused)
		case a.unsavedSince.IsZero() != b.unsavedSince.IsZero():
			return before(b.unsavedSince.IsZero())
		}
		return a.unsavedSince.Compare(b.unsavedSince)
	})
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
	if !r.ordered {
		d.order(r)
	}
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
