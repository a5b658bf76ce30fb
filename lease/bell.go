package lease

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// leastTakeGap and mostTakeGap are between two looks of one process at what is offered: a holder gives up its instances
	// as each comes to its end. Where a look is cheap there are more of them, because an instance waits for the next; the
	// longest is far below the pause that a receiver should see when an instance changes hands.
	leastTakeGap = 3 * time.Millisecond
	mostTakeGap  = 15 * time.Millisecond
	// maxPayload is below the 8,000 bytes that Postgres allows for a NOTIFY.
	maxPayload = 7500
	// farewell stands where the ids of takers would: who rings gives everything up and ends.
	farewell = "leaving"
	// greeting is the same of who has just begun: what others keep for it, because it did not take it, it can take now.
	greeting = "beginning"
)

// A bell's payload is the id of who rings and, behind it, the ids of those that it is for; alone it is for everybody.
// So does who was told nothing, after the listening connection was lost, look at everything.

// payload tells takers that there is something for them; nil: everybody that something changed.
func (k *Keeper) payload(takers map[string]bool) string {
	text := strings.Join(append([]string{k.cfg.ID}, slices.Sorted(maps.Keys(takers))...), " ")
	if len(text) > maxPayload {
		return k.cfg.ID
	}
	return text
}

// Hear takes in a bell, as [Session.Ring] was given it by some process; empty: bells may have been missed. It never blocks.
func (k *Keeper) Hear(payload string) {
	from, to, directed := strings.Cut(payload, " ")
	switch {
	case from == k.cfg.ID:
		// What we ring for we have dealt with.
	case to == farewell:
		k.left.add(from)
		k.Wake()
	case to == greeting:
		k.greeted.add(from)
		k.Wake()
	case !directed:
		k.Wake()
	case slices.Contains(strings.Split(to, " "), k.cfg.ID):
		k.expect()
	}
}

// expect has a look at what we own and do not hold: some of it is free. It never blocks.
func (k *Keeper) expect() {
	select {
	case k.offered <- struct{}{}:
	default:
	}
}

// accept takes what others gave up for us. Who was told of a change, or does not know of anything that it could take, plans
// anew first: looked says so.
func (k *Keeper) accept(rung bool) (looked bool) {
	if looked = rung || len(k.missing(k.picks)) == 0 && time.Since(k.last) >= wakeGap; looked {
		k.round(rung)
	}
	began := time.Now()
	if missing := k.missing(k.picks); len(missing) > 0 {
		k.lock(missing)
	}
	k.takeNext = time.Now().Add(takeGap(time.Since(began)))
	k.report()
	return looked
}

// takeGap is after a look that took so long: four times that, so that looks take a fifth of the time at most, or half of it
// where even one is long.
func takeGap(took time.Duration) time.Duration {
	return max(took, min(max(4*took, leastTakeGap), mostTakeGap))
}

// ringOut rings for everybody if there is news.
func (k *Keeper) ringOut() {
	payload := k.payload(nil)
	switch {
	case k.greet:
		payload = k.cfg.ID + " " + greeting
	case !k.ring:
		return
	}
	if err := k.cfg.Session.Ring(k.term.ctx, payload); err != nil {
		k.complain("could not ring for the other processes; they look again within 5 s", err)
		return
	}
	k.greet, k.ring = false, false
}

// sayFarewell tells everybody that this process leaves, so that they wait for nothing when its session is gone.
func (k *Keeper) sayFarewell() {
	if err := k.cfg.Session.Ring(k.term.ctx, k.cfg.ID+" "+farewell); err != nil {
		k.complain("could not tell the other processes that this one leaves; they see it within 2 s", err)
	}
}

// named are processes of which something was heard. Its methods are safe for several goroutines.
type named struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (n *named) add(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ids == nil {
		n.ids = map[string]bool{}
	}
	n.ids[id] = true
}

func (n *named) has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ids[id]
}

// take returns them and forgets them.
func (n *named) take() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := n.ids
	n.ids = nil
	return ids
}

// keep forgets those whose sessions have ended.
func (n *named) keep(there map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.ids, func(id string, _ bool) bool { return !there[id] })
}

// takers is the bell for those who should take what is about to be unlocked; empty: nobody else. ours says that some of it
// is for this process itself, such as what it had taken for somebody else.
func (k *Keeper) takers(ids []int32) (bell string, ours bool) {
	takers := map[string]bool{}
	for _, id := range ids {
		switch owner := k.plan.ownerOf(id); {
		case owner == "" || k.leases[id] == refused:
		case owner == k.cfg.ID:
			ours = true
		default:
			takers[owner] = true
		}
	}
	if len(takers) == 0 {
		return "", ours
	}
	return k.payload(takers), ours
}
