package targets

import "slices"

// tombstones are the followers that one actor lost, by inbox.
type tombstones struct {
	through map[uint32]tombstone
	// last is the highest throughID: later activities need not look.
	last int64
}

type tombstone struct {
	throughID int64
	shared    bool
}

func (s *state) addTombstone(t Tombstone) {
	of := s.tombstones[t.ActorID]
	if of == nil {
		of = &tombstones{through: make(map[uint32]tombstone)}
		s.tombstones[t.ActorID] = of
	}
	id := s.inboxes.retain(t.InstanceID, t.Inbox, t.Shared)
	n := tombstone{throughID: t.ThroughID, shared: t.Shared}
	if old, twice := of.through[id]; twice {
		n.throughID = max(n.throughID, old.throughID)
		if old.shared && !n.shared {
			n.shared = true
			s.inboxes.release(id, false)
		} else {
			s.inboxes.release(id, old.shared)
		}
	}
	of.through[id] = n
	of.last = max(of.last, n.throughID)
}

func (s *state) pruneTombstones(throughID int64) {
	s.dropTombstones(func(_ int32, last int64) bool { return last <= throughID })
}

func (s *state) dropTombstones(drop func(instanceID int32, throughID int64) bool) {
	for actorID, of := range s.tombstones {
		for id, t := range of.through {
			if drop(s.inboxes.slot(id).instance, t.throughID) {
				delete(of.through, id)
				s.inboxes.release(id, t.shared)
			}
		}
		if len(of.through) == 0 {
			delete(s.tombstones, actorID)
		}
	}
}

// appendLate appends those who left after the activity was there.
func (of *tombstones) appendLate(s *state, activityID int64, targets []target) []target {
	if of == nil || activityID > of.last {
		return targets
	}
	targets = slices.Grow(targets, len(of.through))
	for id, t := range of.through {
		if activityID <= t.throughID {
			targets = append(targets, newTarget(s.inboxes.slot(id).instance, id, t.shared))
		}
	}
	return targets
}
