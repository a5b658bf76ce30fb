package sender

// beginning is a read of instances' states that is under way, to begin with them. It is guarded by dispatcher.mu.
type beginning struct {
	ids []int32
	// anew: they are held, and what is held of each is replaced.
	anew bool
	// stale are those whose state was changed in the database since the read began.
	stale map[int32]bool
}

// expect notes that the states of instances are about to be read. With anew it leaves out those that are not held: they
// are not ours, or will not be for long.
func (d *dispatcher) expect(ids []int32, anew bool) *beginning {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := &beginning{anew: anew, stale: map[int32]bool{}}
	for _, id := range ids {
		if s := d.slots[id]; anew && (s == nil || s.draining) {
			continue
		}
		b.ids = append(b.ids, id)
		d.beginnings[id] = b
	}
	return b
}

// forget ends a beginning.
func (d *dispatcher) forget(b *beginning) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range b.ids {
		if d.beginnings[id] == b {
			delete(d.beginnings, id)
		}
	}
}

// spoil notes that the state of an instance changes in the database. d.mu is held.
func (d *dispatcher) spoil(id int32) {
	if b := d.beginnings[id]; b != nil {
		b.stale[id] = true
	}
}

// touch notes that the states of instances have changed in the database and returns those of them that are held.
func (d *dispatcher) touch(ids []int32) (held []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		d.spoil(id)
		if d.slots[id] != nil {
			held = append(held, id)
		}
	}
	return held
}

// add takes slots whose state was read for b, unless their instances were given up meanwhile. It returns those whose
// state must be read again, when the save that is under way has ended.
func (d *dispatcher) add(b *beginning, slots []*slot) (again []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, s := range slots {
		switch old := d.slots[s.id]; {
		case d.beginnings[s.id] != b || old != nil && old.draining:
			continue
		case b.stale[s.id], old != nil && old.saving:
			delete(b.stale, s.id)
			again = append(again, s.id)
			continue
		case old != nil:
			s.meter = old.meter
			d.drop(old)
		}
		delete(d.beginnings, s.id)
		s.meter.settle(now, 0)
		d.slots[s.id] = s
		delete(d.turns.since, s.id)
		d.noteCursor(s, b.anew)
		if s.worker.Offered() < max(d.head, d.reading) || s.stopped(now) {
			d.fallBehind(s)
		}
		d.look(s, now)
	}
	d.dispatch()
	return again
}

// decided is up to where the head has read, with all that was committed before it.
func (d *dispatcher) decided() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.head, d.reading)
}
