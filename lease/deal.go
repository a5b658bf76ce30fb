package lease

import (
	"cmp"
	"slices"
)

const (
	// evenness is how far a member's heavy instances may be above its part of them, in hundredths of its whole load. The
	// light ones make up for it, so it may be a few; the less it is, the fewer of those move.
	evenness = 3
	// slack is the part of its light instances that a member may have above its quota: where there are many it spares
	// moves. Few spread unevenly by chance, and have none.
	slack = 50
)

// deal is an assignment in the making.
type deal struct {
	*assignment
	weights  *Weights
	percent  []int    // capacity of each member
	capacity int      // of all
	room     []int    // how many ids each may still get
	load     []Weight // of the heavy ones that each got
	placed   []bool   // of ids
	left     int      // ids that are not placed
}

func newDeal(a *assignment, members []member, w *Weights) *deal {
	d := &deal{
		assignment: a, weights: w, percent: make([]int, len(members)), room: places(members, len(a.ids)),
		load: make([]Weight, len(members)), placed: make([]bool, len(a.ids)), left: len(a.ids),
	}
	for m, one := range members {
		d.percent[m] = w.percent(one.id)
		d.capacity += d.percent[m]
	}
	return d
}

// places is how many of n ids each member may own. Where all of them together have too few, each owns so many more in
// proportion and holds some of them at a time.
func places(members []member, n int) []int {
	room := make([]int, len(members))
	total := 0
	for m, one := range members {
		room[m] = n
		if one.most > 0 {
			room[m] = min(n, one.most)
		}
		total += room[m]
	}
	if total < n {
		for m := range room {
			room[m] = (n*room[m] + total - 1) / total
		}
	}
	return room
}

// heavyOne is a heavy instance that is here, by its index.
type heavyOne struct {
	Heavy
	index int
}

// heavy lists what may be leased of the heavy ones, the heaviest first.
func (d *deal) heavy() (list []heavyOne, total Weight) {
	for _, h := range d.weights.Heavy {
		if i, ok := slices.BinarySearch(d.ids, h.ID); ok {
			list = append(list, heavyOne{h, i})
			total += h.Weight
		}
	}
	slices.SortFunc(list, func(a, b heavyOne) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.ID, b.ID))
	})
	return list, total
}

// placeHeavy gives each heavy instance to the first choice that has room for it, and else to whom it loads least.
func (d *deal) placeHeavy() {
	list, total := d.heavy()
	all := total + d.weights.light()*Weight(len(d.ids)-len(list))
	limit := make([]Weight, len(d.members))
	for m, percent := range d.percent {
		limit[m] = (total + all*evenness/100) * Weight(percent) / Weight(d.capacity)
	}
	homes := d.homes()
	scores := make([]uint64, len(d.members))
	for _, h := range list {
		d.prefer(h, homes, scores)
		best, fits := -1, false
		for m := range d.members {
			if d.room[m] == 0 {
				continue
			}
			ok := d.load[m]+h.Weight <= limit[m]
			switch {
			case best < 0, ok && !fits:
				best, fits = m, ok
			case fits && !ok:
			case fits:
				if scores[m] > scores[best] {
					best = m
				}
			case d.loadsLess(h.Weight, m, best, scores):
				best = m
			}
		}
		d.place(h.index, best)
		d.load[best] += h.Weight
	}
}

// loadsLess compares what m and n would carry for what they can do; of equal ones the better score.
func (d *deal) loadsLess(w Weight, m, n int, scores []uint64) bool {
	with, without := (d.load[m]+w)*Weight(d.percent[n]), (d.load[n]+w)*Weight(d.percent[m])
	return with < without || with == without && scores[m] > scores[n]
}

// homes are the members by their place in [Weights.Processes]; -1: not present.
func (d *deal) homes() []int {
	homes := make([]int, len(d.weights.Processes))
	for i := range homes {
		m, ok := slices.BinarySearch(d.members, d.weights.Processes[i].ID)
		if !ok {
			m = -1
		}
		homes[i] = m
	}
	return homes
}

// prefer scores the members for h. Its home gets the best score of all that were there when the weights were made. Who
// came later competes with that, as it does for any instance: it gets its part and the others stay where they are.
func (d *deal) prefer(h heavyOne, homes []int, scores []uint64) {
	hash := hashed(h.ID)
	for m, seed := range d.seeds {
		scores[m] = score(seed, hash)
	}
	if h.Home < 0 || h.Home >= len(homes) || homes[h.Home] < 0 {
		return
	}
	home, best := homes[h.Home], 0
	for i, m := range homes {
		if m >= 0 && (i == 0 || homes[best] < 0 || scores[m] > scores[homes[best]]) {
			best = i
		}
	}
	scores[home], scores[homes[best]] = scores[homes[best]], scores[home]
}

func (d *deal) place(index, m int) {
	d.owner[index] = uint16(m)
	d.placed[index] = true
	d.room[m]--
	d.left--
}

// placeLight fills the room that is left.
func (d *deal) placeLight() {
	quota := d.quotas()
	held := make([]scores, len(d.members))
	for m := range held {
		held[m] = make(scores, 0, quota[m])
	}
	for i := range d.ids {
		if d.placed[i] {
			continue
		}
		claim := claim{index: i, score: ^uint64(0)}
		for {
			m, s := d.next(hashed(d.ids[claim.index]), claim.score)
			claim.score = s
			if len(held[m]) < quota[m] {
				held[m].push(claim)
				break
			}
			if quota[m] > 0 && held[m][0].score < s {
				claim, held[m][0] = held[m][0], claim
				held[m].down()
			}
		}
	}
	for m, claims := range held {
		for _, c := range claims {
			d.owner[c.index] = uint16(m)
		}
	}
}

// quotas is how many light ones each member may have. It finds the level to which all are filled, as water finds it.
func (d *deal) quotas() []int {
	quota := make([]int, len(d.members))
	// fill returns how many fit below a level, the load of a member that can do 100 %.
	fill := func(level Weight) (total int) {
		for m := range quota {
			room := (level*Weight(d.percent[m]) - 100*d.load[m]) / (100 * d.weights.light())
			quota[m] = int(min(max(0, room), Weight(d.room[m])))
			total += quota[m]
		}
		return total
	}
	high := Weight(1)
	for fill(high) < d.left {
		high *= 2
	}
	for low := high / 2; high-low > 1; {
		if middle := (low + high) / 2; fill(middle) < d.left {
			low = middle
		} else {
			high = middle
		}
	}
	fill(high)
	for m := range quota {
		quota[m] = min(quota[m]+quota[m]/slack, d.room[m])
	}
	return quota
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
