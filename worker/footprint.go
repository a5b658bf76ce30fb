package worker

import (
	"bytes"
	"slices"
)

// Footprint is what an activity writes and reads: sorted hashes of ids, none of them twice. An equal hash of two ids
// makes two activities wait for each other needlessly and does no other harm.
type Footprint struct {
	Writes, Reads []uint64
}

const (
	// maxNested is deeper than anything known: Announce{Undo{Delete{Note}}} has four.
	maxNested = 6
	// maxIDs bounds what a foreign object that is passed on (Announce) can cost. Beyond it order is not kept.
	maxIDs = 64
)

// FootprintOf reads an ActivityStreams activity. It never fails: what is not understood conflicts with nothing.
//
// Every activity writes its own id, which a later Undo may name, and reads its actor, object, target and inReplyTo.
// Create, Update, Delete, Move, Undo, Accept, Reject and verbs that are not known write their object. Verbs that say
// something about an object without changing it for others (Like, Follow, Block, Announce of an id, Add, Flag…) write the
// pair of actor and object, and with a target that of object and target. An object that is an activity itself is read in
// the same way, so Announce{Create{Note}} writes the Note, and Undo{Like} the pair that the Like wrote.
func FootprintOf(body []byte) Footprint {
	body = bytes.Trim(body, " \t\r\n")
	n, ok := parseNode(body)
	if !ok || skipValue(body, 0) != len(body) {
		return Footprint{}
	}
	var f footprint
	f.activity(n, nil, 0)
	return f.done()
}

// ActorOf is the id of the actor that an activity names, the first of them; empty where it names none.
func ActorOf(body []byte) string {
	n, _ := parseNode(bytes.Trim(body, " \t\r\n"))
	return string(idOf(first(n.actor)))
}

// Conflicts says whether one writes what the other writes or reads.
func (f Footprint) Conflicts(g Footprint) bool {
	return overlap(f.Writes, g.Writes) || overlap(f.Writes, g.Reads) || overlap(f.Reads, g.Writes)
}

func overlap(a, b []uint64) bool {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			return true
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	return false
}

// footprint collects hashes in the order in which they are met.
type footprint struct {
	writes, reads hashes
}

type hashes struct {
	all   [maxIDs]uint64
	count int
}

func (h *hashes) add(hash uint64) {
	if h.count < maxIDs {
		h.all[h.count] = hash
		h.count++
	}
}

// sorted returns them, each once, without those in but, which is sorted.
func (h *hashes) sorted(but []uint64) []uint64 {
	all := h.all[:h.count]
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(hash uint64) bool {
		_, found := slices.BinarySearch(but, hash)
		return found
	})
	if len(all) == 0 {
		return nil
	}
	return append(make([]uint64, 0, len(all)), all...)
}

func (f *footprint) done() Footprint {
	writes := f.writes.sorted(nil)
	return Footprint{Writes: writes, Reads: f.reads.sorted(writes)}
}

func (f *footprint) readAll(raw []byte) {
	for part := range values(raw) {
		if id := idOf(part); len(id) > 0 {
			f.reads.add(hash(id))
		}
	}
}

func (f *footprint) activity(n node, actor []byte, depth int) {
	if id := text(n.id); len(id) > 0 {
		f.writes.add(hash(id))
	}
	if own := idOf(first(n.actor)); len(own) > 0 {
		actor = own
	}
	f.readAll(n.actor)
	f.readAll(n.target)
	f.readAll(n.inReplyTo)
	target := idOf(first(n.target))
	writesPair := pairVerb(text(first(n.kind)))
	for raw := range values(n.object) {
		inner, isObject := parseNode(raw)
		switch {
		case isObject && first(inner.object) != nil && depth < maxNested:
			f.activity(inner, actor, depth+1)
			continue
		case isObject:
			f.readAll(inner.inReplyTo)
		default:
			inner.id = raw
		}
		id := text(inner.id)
		switch {
		case len(id) == 0:
		case writesPair:
			f.reads.add(hash(id))
			f.writes.add(pair(actor, id))
			if len(target) > 0 {
				f.writes.add(pair(id, target))
			}
		default:
			f.writes.add(hash(id))
		}
	}
}

// idOf is the id of something that is embedded or only named.
func idOf(raw []byte) []byte {
	if n, ok := parseNode(raw); ok {
		return text(n.id)
	}
	return text(raw)
}

// pairVerb says whether the verb leaves its object as it is for everybody else.
func pairVerb(verb []byte) bool {
	switch string(verb) {
	case "Like", "Dislike", "EmojiReact", "Follow", "Block", "Announce", "Add", "Remove", "Flag", "Join", "Leave",
		"Listen", "View", "Read", "Ignore", "Invite", "Offer", "Arrive", "Travel":
		return true
	}
	return false
}

// FNV-1a, 64 bit (draft-eastlake-fnv).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hash(id []byte) uint64 { return extend(fnvOffset, id) }

func pair(a, b []byte) uint64 {
	return extend((extend(fnvOffset, a)^0xff)*fnvPrime, b)
}

func extend(h uint64, s []byte) uint64 {
	for _, c := range s {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}
