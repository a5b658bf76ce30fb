package worker

import (
	"bytes"
	"encoding/json"
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
	var f footprint
	n, ok := parseNode(body)
	if !ok {
		return Footprint{}
	}
	f.activity(n, "", 0)
	return f.done()
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

// node is what matters of a JSON object.
type node struct {
	ID        json.RawMessage `json:"id"`
	Type      json.RawMessage `json:"type"`
	Actor     json.RawMessage `json:"actor"`
	Object    json.RawMessage `json:"object"`
	Target    json.RawMessage `json:"target"`
	InReplyTo json.RawMessage `json:"inReplyTo"`
}

func parseNode(raw []byte) (node, bool) {
	var n node
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 || raw[0] != '{' {
		return n, false
	}
	return n, json.Unmarshal(raw, &n) == nil
}

// footprint collects hashes in the order in which they are met.
type footprint struct {
	writes, reads []uint64
}

func (f *footprint) write(h uint64) {
	if len(f.writes) < maxIDs {
		f.writes = append(f.writes, h)
	}
}

func (f *footprint) read(h uint64) {
	if len(f.reads) < maxIDs {
		f.reads = append(f.reads, h)
	}
}

func (f *footprint) readAll(raw json.RawMessage) {
	for _, part := range values(raw) {
		if id := idOf(part); id != "" {
			f.read(hash(id))
		}
	}
}

func (f *footprint) activity(n node, actor string, depth int) {
	if id := text(n.ID); id != "" {
		f.write(hash(id))
	}
	if own := first(n.Actor); own != "" {
		actor = own
	}
	f.readAll(n.Actor)
	f.readAll(n.Target)
	f.readAll(n.InReplyTo)
	writesPair := pairVerb(kind(n.Type))
	for _, raw := range values(n.Object) {
		inner, isObject := parseNode(raw)
		switch {
		case isObject && len(values(inner.Object)) > 0 && depth < maxNested:
			f.activity(inner, actor, depth+1)
			continue
		case isObject:
			f.readAll(inner.InReplyTo)
		default:
			inner.ID = raw
		}
		id := text(inner.ID)
		switch {
		case id == "":
		case writesPair:
			f.read(hash(id))
			f.write(pair(actor, id))
			if target := first(n.Target); target != "" {
				f.write(pair(id, target))
			}
		default:
			f.write(hash(id))
		}
	}
}

func (f *footprint) done() Footprint {
	sort := func(hashes []uint64) []uint64 {
		slices.Sort(hashes)
		return slices.Compact(hashes)
	}
	out := Footprint{Writes: sort(f.writes), Reads: sort(f.reads)}
	out.Reads = slices.DeleteFunc(out.Reads, func(h uint64) bool {
		_, written := slices.BinarySearch(out.Writes, h)
		return written
	})
	return out
}

// pairVerb says whether the verb leaves its object as it is for everybody else.
func pairVerb(verb string) bool {
	switch verb {
	case "Like", "Dislike", "EmojiReact", "Follow", "Block", "Announce", "Add", "Remove", "Flag", "Join", "Leave",
		"Listen", "View", "Read", "Ignore", "Invite", "Offer", "Arrive", "Travel":
		return true
	}
	return false
}

// values are the parts of a value that may be one or an array of them.
func values(raw json.RawMessage) []json.RawMessage {
	switch {
	case len(raw) == 0 || raw[0] == 'n':
		return nil
	case raw[0] != '[':
		return []json.RawMessage{raw}
	}
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all[:min(len(all), maxIDs)]
}

// first is the id of a value, or of its first part.
func first(raw json.RawMessage) string {
	for _, part := range values(raw) {
		return idOf(part)
	}
	return ""
}

// kind is the type of an object, or the first of its types.
func kind(raw json.RawMessage) string {
	for _, part := range values(raw) {
		return text(part)
	}
	return ""
}

// idOf is the id of something that is embedded or only named.
func idOf(raw json.RawMessage) string {
	if n, ok := parseNode(raw); ok {
		return text(n.ID)
	}
	return text(raw)
}

func text(raw json.RawMessage) string {
	var s string
	if len(raw) < 2 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// FNV-1a, 64 bit (draft-eastlake-fnv).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hash(id string) uint64 { return extend(fnvOffset, id) }

func pair(a, b string) uint64 {
	return extend((extend(fnvOffset, a)^0xff)*fnvPrime, b)
}

func extend(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
