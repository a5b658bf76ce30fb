package lease

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// assignment says who should hold what. It depends on nothing but the two lists, so all processes that see
// the same lists agree.
type assignment struct {
	ids     []int32  // sorted
	members []string // sorted
	seeds   []uint64
	owner   []uint16 // of ids[i], an index into members
}

// score is the weight of rendezvous hashing.
func score(seed uint64, id int32) uint64 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	binary.LittleEndian.PutUint32(b[8:], uint32(id))
	return xxhash.Sum64(b[:])
}

// limit is how many of n instances one of so many members may own: the fair share, rounded up, and a fiftieth. Few
// instances spread unevenly by chance, so there is no slack for them; where there are many, it spares moves.
func limit(n, members int) int {
	fair := (n + members - 1) / members
	return fair + fair/50
}

// assign gives each id to the member that it scores highest, none above the limit. Where a member is full, the
// lowest scores give way and go to their next choice (deferred acceptance: a stable matching of residents and
// hospitals, Gale and Shapley 1962). Its result does not depend on the order of the ids, so that a change of the
// lists moves little beyond what it must.
func assign(ids []int32, members []string) assignment {
	a := assignment{ids: ids, members: members, seeds: make([]uint64, len(members)), owner: make([]uint16, len(ids))}
	for m, name := range members {
		a.seeds[m] = xxhash.Sum64String(name)
	}
	if len(members) < 2 {
		return a
	}
	full := limit(len(ids), len(members))
	places := make([]scores, len(members))
	for i := range ids {
		claim := claim{index: i, score: ^uint64(0)}
		for {
			m, s := a.next(ids[claim.index], claim.score)
			claim.score = s
			if len(places[m]) < full {
				places[m].push(claim)
				break
			}
			if places[m][0].score < s {
				claim, places[m][0] = places[m][0], claim
				places[m].down()
			}
		}
	}
	for m, claims := range places {
		for _, c := range claims {
			a.owner[c.index] = uint16(m)
		}
	}
	return a
}

// next is the best member for id whose score is below that of the one that refused it.
func (a *assignment) next(id int32, below uint64) (member int, best uint64) {
	for m, seed := range a.seeds {
		if s := score(seed, id); s < below && s >= best {
			member, best = m, s
		}
	}
	return member, best
}

// ownerOf returns the owner's name, or "" for an id that may not be leased.
func (a *assignment) ownerOf(id int32) string {
	i, ok := slices.BinarySearch(a.ids, id)
	if !ok || len(a.members) == 0 {
		return ""
	}
	return a.members[a.owner[i]]
}

// of returns what member owns, sorted.
func (a *assignment) of(member string) []int32 {
	m, ok := slices.BinarySearch(a.members, member)
	if !ok {
		return nil
	}
	var own []int32
	for i, id := range a.ids {
		if a.owner[i] == uint16(m) {
			own = append(own, id)
		}
	}
	return own
}

// deputies returns what others own and member is the rank-th choice for (0 is the first after the owner):
// for each rank every id has exactly one such member.
func (a *assignment) deputies(member string, rank int) []int32 {
	me, ok := slices.BinarySearch(a.members, member)
	if !ok {
		return nil
	}
	var ids []int32
	for i, id := range a.ids {
		owner := int(a.owner[i])
		if owner == me {
			continue
		}
		mine, better := score(a.seeds[me], id), 0
		for m, seed := range a.seeds {
			if m != owner && m != me && score(seed, id) > mine {
				better++
			}
		}
		if better == rank {
			ids = append(ids, id)
		}
	}
	return ids
}

// claim is an id (by its index) at a member, with the score that it has there.
type claim struct {
	index int
	score uint64
}

// scores is a heap with the lowest score on top.
type scores []claim

func (h *scores) push(c claim) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if s[parent].score <= s[i].score {
			return
		}
		s[parent], s[i] = s[i], s[parent]
		i = parent
	}
}

// down puts the top, which was replaced, where it belongs.
func (h scores) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].score < h[child].score {
			child++
		}
		if h[i].score <= h[child].score {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
