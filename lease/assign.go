package lease

import (
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// member is a process that is present.
type member struct {
	id   string
	most int // how many instances it may hold; 0: no limit
}

// assignment says who should hold what. It depends on nothing but what [assign] is given, and is computed in integers,
// so all processes that see the same agree, whatever machine they are on.
type assignment struct {
	ids     []int32  // sorted
	members []string // sorted
	seeds   []uint64
	owner   []uint16 // of ids[i], an index into members
}

// score is the weight of rendezvous hashing. It is asked for every instance and member at each change of the fleet, so it
// is one multiplication, folded, of two numbers that are hashes themselves, as wyhash mixes.
func score(seed, hash uint64) uint64 {
	high, low := bits.Mul64(seed, hash)
	return high ^ low
}

// hashed spreads an id over 64 bits: the end of splitmix64 (Steele, Lea and Flood 2014), which gives no two ids the same.
func hashed(id int32) uint64 {
	x := uint64(uint32(id)) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// assign gives each id, which are sorted, to one of the members, which are sorted by id. Every member gets a part of the
// load as large as its part of the capacity, as far as whole instances and its limit allow.
//
// The heavy ones go first, one by one. The rest, which are many and weigh the same, fill what room is left: each goes to
// the member that it scores highest; where a member is full, the lowest scores give way and go to their next choice
// (deferred acceptance: a stable matching of residents and hospitals, Gale and Shapley 1962). Neither depends on the order
// of the ids, so that a change moves little beyond what it must.
func assign(ids []int32, members []member, w *Weights) assignment {
	a := assignment{ids: ids, seeds: make([]uint64, len(members)), owner: make([]uint16, len(ids))}
	for m, one := range members {
		a.members = append(a.members, one.id)
		a.seeds[m] = xxhash.Sum64String(one.id)
	}
	if len(members) > 1 {
		d := newDeal(&a, members, w)
		d.placeHeavy()
		d.placeLight()
	}
	return a
}

// next is the best member for an id, by its hash, whose score is below that of the one that refused it.
func (a *assignment) next(hash, below uint64) (member int, best uint64) {
	for m, seed := range a.seeds {
		if s := score(seed, hash); s < below && s >= best {
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
		hash := hashed(id)
		mine, better := score(a.seeds[me], hash), 0
		for m, seed := range a.seeds {
			if m != owner && m != me && score(seed, hash) > mine {
				better++
			}
		}
		if better == rank {
			ids = append(ids, id)
		}
	}
	return ids
}
