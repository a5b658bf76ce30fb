package lease

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// takeGap joins bells for one process that ring together: a holder gives up its instances in parts. It is far below
	// the pause that a receiver should see when an instance changes hands.
	takeGap = 15 * time.Millisecond
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
	k.takeNext = time.Now().Add(max(takeGap, time.Since(began)))
	k.report()
	return looked
}

// ringOut rings if there is news: for everybody, or for those who should take what is free.
func (k *Keeper) ringOut() {
	payload := k.payload(k.takers)
	switch {
	case k.greet:
		payload = k.cfg.ID + " " + greeting
	case k.ring:
		payload = k.payload(nil)
	case len(k.takers) == 0:
		return
	}
	if err := k.cfg.Session.Ring(k.term.ctx, payload); err != nil {
		k.complain("could not ring for the other processes; they look again within 5 s", err)
		return
	}
	k.greet, k.ring = false, false
	clear(k.takers)
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

// freed notes who should take an instance that was unlocked.
func (k *Keeper) freed(id int32) {
	switch owner := k.plan.ownerOf(id); owner {
	case "":
	case k.cfg.ID:
		k.expect()
	default:
		k.takers[owner] = true
	}
}
