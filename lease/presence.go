package lease

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// errGhost is why a session of our own id, older than ours, is ended.
var errGhost = errors.New("an older session of this process still holds leases")

// observe updates who is present and ends sessions that hang. It says whether membership changed, and whether others
// should hear of that: who begins tells them itself when it is ready.
func (k *Keeper) observe(peers []Peer) (changed, late bool) {
	present := []string{k.cfg.ID}
	var self Peer
	clear(k.settling)
	clear(k.most)
	k.most[k.cfg.ID] = k.cfg.MaxLeases
	k.sessions = len(peers)
	for _, p := range peers {
		if !p.Self && !k.joined && !begins(p) {
			k.late = true
		}
		if p.Self {
			self = p
		} else if p.ID != k.cfg.ID && !p.Leaving && p.IdleFor < silentAfter {
			present = append(present, p.ID)
			k.most[p.ID] = p.MaxLeases
			if begins(p) {
				k.settling[p.ID] = true
			}
		}
	}
	slices.Sort(present)
	present = slices.Compact(present)
	changed = !slices.Equal(present, k.members)
	late = slices.ContainsFunc(k.members, func(id string) bool { return !slices.Contains(present, id) }) ||
		slices.ContainsFunc(present, func(id string) bool { return !k.settling[id] && !slices.Contains(k.members, id) })
	if k.noteSilent(peers) {
		changed, late = true, true
		k.leaveToOwners()
	}
	k.noteVanished(peers)
	k.members = present
	for _, p := range peers {
		switch {
		case p.Self:
		case p.ID == k.cfg.ID && p.Since.Before(self.Since):
			k.end(p, errGhost)
		case p.IdleFor >= hungAfter && time.Since(k.silent[p.PID]) >= silentAfter && k.isSentinel():
			k.end(p, errors.New("no heartbeat for "+p.IdleFor.String()))
		}
	}
	return changed, late
}

// begins says of a peer that it takes nothing yet. A negative age is that of an older session, since whose beginning the
// server's clock was set back.
func begins(p Peer) bool { return p.Age >= 0 && p.Age < settle }

// noteSilent notes which sessions are there that keep leases and can't use them, and says whether one of them has ended:
// what it kept is free then, at once, because its process stopped long before.
func (k *Keeper) noteSilent(peers []Peer) (ended bool) {
	silent, there := map[int32]time.Time{}, 0
	for _, p := range peers {
		since, known := k.silent[p.PID]
		if known {
			there++
		} else {
			since = time.Now()
		}
		if !p.Self && (p.ID == k.cfg.ID || p.IdleFor >= silentAfter) {
			silent[p.PID] = since
		}
	}
	ended = there < len(k.silent)
	k.silent = silent
	return ended
}

// noteVanished lets nothing be locked for a moment where a member is gone that has not said that it leaves: it may live,
// without its session, and not know it yet.
func (k *Keeper) noteVanished(peers []Peer) {
	there := make(map[string]bool, len(peers))
	for _, p := range peers {
		there[p.ID] = true
	}
	for _, id := range k.members {
		if id != k.cfg.ID && !there[id] && !k.left.has(id) {
			k.grace = time.Now().Add(vanishGrace)
		}
		there[id] = true // until it is no member any more
	}
	k.left.keep(there)
}

// lookAgain looks, once something was locked, whether that was free because somebody vanished since the last look.
func (k *Keeper) lookAgain() {
	if len(k.members) < 2 {
		return
	}
	start := k.term.now()
	peers, err := k.cfg.Session.Beat(k.term.ctx)
	if err != nil {
		k.grace = time.Now().Add(vanishGrace)
		k.complain("heartbeat failed", err)
		return
	}
	k.term.extend(start)
	k.noteVanished(peers)
}

// sleepUntil returns earlier where the session is lost.
func (k *Keeper) sleepUntil(at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-k.term.ctx.Done():
	}
}

// end terminates a session that keeps leases and can't use them.
func (k *Keeper) end(p Peer, why error) {
	err := errors.New("it belongs to another role; end it by hand with pg_terminate_backend")
	if p.Mine {
		err = k.cfg.Session.Terminate(k.term.ctx, p)
	}
	if err == nil {
		// A backend that is busy with something else may take long to end, and is told in each round. Nobody else should
		// wait for that.
		if !k.said.again(fmt.Sprint("ended the lease session of backend ", p.PID)) {
			k.ring = true
			k.leaveToOwners()
			k.cfg.Log.Warn("ended the lease session of a process", "peer", p.ID, "pid", p.PID, "reason", why)
		}
	} else if !k.warned[p.ID] {
		k.warned[p.ID] = true
		k.complain("could not end the lease session of process "+p.ID+" ("+why.Error()+")", err)
	}
}

// leaveToOwners takes nothing for a leftover for a while, because a session has just ended: its leases are free, and the
// owners are about to ask for them.
func (k *Keeper) leaveToOwners() { k.sweepAt = latest(k.sweepAt, time.Now().Add(leftoverAfter)) }

// isSentinel says whether this process watches for the others. With nobody else there is nothing to watch: who joins rings.
func (k *Keeper) isSentinel() bool {
	rank, _ := slices.BinarySearch(k.members, k.cfg.ID)
	return rank < sentinels && (len(k.members) > 1 || len(k.silent) > 0)
}
