package targets

import (
	"cmp"
	"slices"
	"strings"
)

// target is an inbox of an instance in 8 bytes: the instance, the id of the inbox and whether this row calls it shared.
// Targets of one instance are next to each other when sorted.
type target uint64

// elsewhere marks a target whose inbox is in no row: its id is an index into the inboxes of the query.
const elsewhere = 1 << 31

func newTarget(instance int32, id uint32, shared bool) target {
	t := target(uint32(instance))<<32 | target(id)<<1
	if shared {
		t |= 1
	}
	return t
}

func (t target) instance() int32 { return int32(t >> 32) }
func (t target) id() uint32      { return uint32(t) &^ elsewhere >> 1 }
func (t target) shared() bool    { return t&1 != 0 }
func (t target) indexed() bool   { return t&elsewhere == 0 }

// same: two targets are one inbox.
func (t target) same(u target) bool { return t>>1 == u>>1 }

// state is the whole content of an index. Whoever calls its methods holds the lock or is alone.
type state struct {
	inboxes   inboxes
	instances map[int32]instance
	// domains is the lowest instance of each domainKey.
	domains map[string]int32
	// broadcast is the shared inbox of each instance that has one, sorted.
	broadcast []target
	followers followers
	// pairs is how many actors each instance has followers of.
	pairs      map[int32]int
	pairCount  int
	tombstones map[int64]*tombstones
	allow      list
	block      list
}

type instance struct {
	Instance
	key   string
	inbox uint32 // 0: no shared one
}

func newState() *state {
	return &state{
		inboxes:    newInboxes(),
		instances:  make(map[int32]instance),
		domains:    make(map[string]int32),
		followers:  newFollowers(),
		pairs:      make(map[int32]int),
		tombstones: make(map[int64]*tombstones),
	}
}

func (s *state) setInstance(in Instance) {
	old, known := s.instances[in.ID]
	n := instance{Instance: in, key: old.key}
	// The caller's strings may be parts of larger ones.
	n.Domain, n.SharedInbox = strings.Clone(in.Domain), ""
	if !known || old.Domain != in.Domain {
		n.key = domainKey(n.Domain)
	}
	if in.SharedInbox != "" {
		n.inbox = s.inboxes.retain(in.ID, in.SharedInbox, true)
		n.SharedInbox = s.inboxes.inbox(n.inbox).URL
	}
	if old.inbox != 0 {
		s.inboxes.release(old.inbox, true)
	}
	s.instances[in.ID] = n
	if known && old.key != n.key {
		s.freeDomain(in.ID, old.key)
	}
	if first, taken := s.domains[n.key]; !taken || in.ID < first {
		s.domains[n.key] = in.ID
	}
	s.setBroadcast(in.ID, n.inbox)
}

// freeDomain gives the domain of an instance that doesn't have it any more to the next one that is written differently.
func (s *state) freeDomain(id int32, key string) {
	if s.domains[key] != id {
		return
	}
	delete(s.domains, key)
	if len(s.domains) >= len(s.instances) {
		return
	}
	for other, in := range s.instances {
		if first, taken := s.domains[key]; in.key == key && (!taken || other < first) {
			s.domains[key] = other
		}
	}
}

func (s *state) setBroadcast(instanceID int32, inbox uint32) {
	from, to := span(s.broadcast, instanceID)
	if inbox == 0 {
		s.broadcast = slices.Delete(s.broadcast, from, to)
		return
	}
	s.broadcast = slices.Replace(s.broadcast, from, to, newTarget(instanceID, inbox, true))
}

func (s *state) removeInstances(ids []int32) {
	gone, pairs := make(map[int32]bool, len(ids)), 0
	for _, id := range ids {
		if gone[id] {
			continue
		}
		gone[id] = true
		pairs += s.pairs[id]
		if in, known := s.instances[id]; known {
			if in.inbox != 0 {
				s.inboxes.release(in.inbox, true)
			}
			s.setBroadcast(id, 0)
			delete(s.instances, id)
			s.freeDomain(id, in.key)
		}
	}
	var room [1]target
	for actorID := range s.followers.by {
		if pairs == 0 {
			break
		}
		of := s.followers.get(actorID, &room)
		kept := of[:0]
		for i, t := range of {
			if !gone[t.instance()] {
				kept = append(kept, t)
				continue
			}
			s.inboxes.release(t.id(), t.shared())
			// The targets of a pair are next to each other.
			if i+1 == len(of) || of[i+1].instance() != t.instance() {
				s.countPair(t.instance(), 0, 1)
				pairs--
			}
		}
		if len(kept) < len(of) {
			s.followers.set(actorID, kept)
		}
	}
	s.dropTombstones(func(instanceID int32, _ int64) bool { return gone[instanceID] })
}

func (s *state) setPair(actorID int64, instanceID int32, inboxes []Inbox) {
	var room [1]target
	all := s.followers.get(actorID, &room)
	from, to := span(all, instanceID)
	old := slices.Clone(all[from:to])
	fresh := make([]target, 0, len(inboxes))
	for _, inbox := range inboxes {
		fresh = append(fresh, newTarget(instanceID, s.inboxes.retain(instanceID, inbox.URL, inbox.Shared), inbox.Shared))
	}
	fresh = s.tidy(fresh)
	for _, t := range old {
		s.inboxes.release(t.id(), t.shared())
	}
	s.countPair(instanceID, len(fresh), len(old))
	s.followers.set(actorID, slices.Replace(all, from, to, fresh...))
}

func (s *state) countPair(instanceID int32, has, had int) {
	n := s.pairs[instanceID]
	switch {
	case has > 0 && had == 0:
		n++
		s.pairCount++
	case has == 0 && had > 0:
		n--
		s.pairCount--
	}
	if n == 0 {
		delete(s.pairs, instanceID)
	} else {
		s.pairs[instanceID] = n
	}
}

// tidy sorts targets by instance and URL and releases those that are there twice.
func (s *state) tidy(targets []target) []target {
	slices.SortFunc(targets, func(a, b target) int {
		if c := cmp.Compare(a>>32, b>>32); c != 0 {
			return c
		}
		if a.same(b) {
			// The shared one first: it is the one that stays.
			return cmp.Compare(b, a)
		}
		return strings.Compare(s.inboxes.inbox(a.id()).URL, s.inboxes.inbox(b.id()).URL)
	})
	kept := targets[:0]
	for i, t := range targets {
		if i > 0 && t.same(kept[len(kept)-1]) {
			s.inboxes.release(t.id(), t.shared())
		} else {
			kept = append(kept, t)
		}
	}
	return kept
}

// span is where the targets of one instance are.
func span(sorted []target, instanceID int32) (from, to int) {
	first := newTarget(instanceID, 0, false)
	from, _ = slices.BinarySearchFunc(sorted, first, func(t, first target) int { return cmp.Compare(t>>32, first>>32) })
	for to = from; to < len(sorted) && sorted[to].instance() == instanceID; to++ {
	}
	return from, to
}

// mapSlack is by how much a Swiss map is larger than its entries: it is between half and fully occupied.
const mapSlack = 1.5

func (s *state) stats() Stats {
	st := Stats{Instances: len(s.instances), Pairs: s.pairCount, Inboxes: s.inboxes.used}
	for _, t := range s.tombstones {
		st.Tombstones += len(t.through)
	}
	st.Bytes = s.inboxes.bytes() + s.followers.bytes() + int64(8*cap(s.broadcast)) + int64(64*st.Tombstones) +
		int64(mapSlack*float64((120+32+24)*len(s.instances)+16*len(s.pairs)))
	return st
}
