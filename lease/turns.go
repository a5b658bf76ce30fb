package lease

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// turnFor is how long an instance with work keeps its lock before another one with work may have it: many times what
	// a hand-over costs.
	turnFor = 10 * time.Second
	// visitEvery is how often a process with room for all but a few would look at one of which it knows no work.
	visitEvery = time.Minute
	// makeRoom is what a process needs to see that there is one more, and to give up what it holds above its new share.
	makeRoom = beatEvery + drainTimeout
)

// turns is what a process remembers that owns more instances than it may lock. Those with work come first and keep their
// lock for turnFor, then the one that has waited longest has it. An instance of which no work is known counts as having
// some when it was not held for a visit's time and a turn: visitEvery for each time that the locks go into what is owned.
// So with B instances that have work (or are due for a visit) and L locks, one with work waits at most about ceil(B/L)
// turns and as many hand-overs, and each is visited within ceil(own/L) minutes, a turn and such a wait.
type turns struct {
	held map[int32]time.Time // since when
	due  map[int32]time.Time // of the next visit to what is not held
	seen map[int32]bool      // was held since it is ours
	// elsewhere says until when another process is taken for the holder of what we could not lock.
	elsewhere map[int32]time.Time
}

// place is where an instance stands for a lock, the lower the better.
type place struct {
	id    int32
	class class
	at    time.Time // the earlier the better
}

type class uint8

const (
	inTurn    class = iota // held, has work, and its turn is not over
	waiting                // not held and has work, or was due for a visit a turn ago
	overdrawn              // held and has work, but its turn is over
	visited                // not held and due for a visit: where many are at one moment, those with work keep their locks
	unseen                 // never held since we own it: who had it before may have known of work
	idle                   // held without work: changing that for nothing would cost a hand-over
	absent                 // not held, without work
)

// limited says whether there is less room than this process owns.
func (k *Keeper) limited() bool {
	limit := k.capacity()
	return limit > 0 && len(k.own) > limit
}

// pick chooses from what we own: all of it, or as much as there is room for, by turns. The most urgent comes first.
func (k *Keeper) pick(now time.Time) []int32 {
	w, _ := k.cfg.Handler.(Waiter)
	if !k.limited() {
		k.turns = turns{}
		if w != nil {
			w.Waiting(nil)
		}
		return k.own
	}
	var work map[int32]time.Time
	if w != nil {
		work = w.Waiting(k.own)
	}
	limit := k.capacity()
	k.turns.plan(k.own, limit, now)
	var places []place
	for _, id := range k.own {
		if p, ok := k.place(id, work, now); ok {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.at.Compare(b.at), cmp.Compare(a.id, b.id))
	})
	picks := make([]int32, 0, limit)
	for _, p := range places[:min(limit, len(places))] {
		picks = append(picks, p.id)
	}
	return picks
}

// place says where an instance stands; false: it is being given up.
func (k *Keeper) place(id int32, work map[int32]time.Time, now time.Time) (place, bool) {
	since, busy := work[id]
	due := k.turns.due[id]
	s, leased := k.leases[id]
	switch {
	case !leased && now.Before(k.turns.elsewhere[id]):
		return place{id, absent, k.turns.elsewhere[id]}, true
	case !leased && busy:
		return place{id, waiting, since}, true
	case !leased && !due.Add(turnFor).After(now):
		return place{id, waiting, due}, true
	case !leased && !due.After(now):
		return place{id, visited, due}, true
	case !leased && !k.turns.seen[id]:
		return place{id, unseen, due}, true
	case !leased:
		return place{id, absent, due}, true
	case s == acquiring:
		return place{id: id}, true
	case s != held:
		return place{}, false
	case busy && now.Sub(k.turns.held[id]) < turnFor:
		return place{id, inTurn, k.turns.held[id]}, true
	}
	// Who has had its lock for longest gives it up first.
	had := time.Time{}.Add(now.Sub(k.turns.held[id]))
	if busy {
		return place{id, overdrawn, had}, true
	}
	return place{id, idle, had}, true
}

// plan sees to it that every instance has a date for its visit. Those that are not ours for long are spread over the time
// of one visit to all, so that under load they do not come at one moment.
func (t *turns) plan(own []int32, limit int, now time.Time) {
	if t.due == nil {
		*t = turns{held: map[int32]time.Time{}, due: make(map[int32]time.Time, len(own)), seen: map[int32]bool{}, elsewhere: map[int32]time.Time{}}
	}
	every := visitsEvery(len(own), limit)
	for i, id := range own {
		if due, known := t.due[id]; !known || due.After(now.Add(every)) {
			t.due[id] = now.Add(every / time.Duration(len(own)) * time.Duration(i+1)) // every×i may be beyond an int64
		}
	}
	if len(t.due) > len(own) {
		for id := range t.due {
			if _, found := slices.BinarySearch(own, id); !found {
				delete(t.due, id)
				delete(t.seen, id)
				delete(t.elsewhere, id)
			}
		}
	}
}

// tried notes what could not be locked, so that it stands in nobody's way until it is tried again.
func (t *turns) tried(asked, got []int32, again time.Time) {
	if t.elsewhere == nil {
		return
	}
	for _, id := range asked {
		t.elsewhere[id] = again
	}
	for _, id := range got {
		delete(t.elsewhere, id)
	}
}

// visitsEvery is how often each of so many instances is held where there are limit locks and none has work.
func visitsEvery(own, limit int) time.Duration {
	return time.Duration((own+limit-1)/limit) * visitEvery
}

// begin notes that an instance is held from here on.
func (t *turns) begin(id int32, now time.Time) {
	if t.held != nil {
		t.held[id], t.seen[id] = now, true
	}
}

// end notes that an instance is not held any more, and plans its next visit. Those that end together come back at
// different times.
func (t *turns) end(id int32, every time.Duration, now time.Time) {
	delete(t.held, id)
	if _, owned := t.due[id]; owned && every > 0 {
		t.due[id] = now.Add(every - rand.N(every/4))
	}
}
