package lease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// state is where an instance is between the first thought of it and its unlock. An id with any state is locked
// by our session: session locks count how often they are taken, so it must never be locked again.
type state uint8

const (
	acquiring state = iota // locked; Handler.Acquired is under way
	held
	draining  // Handler.Release is under way
	unlocking // nothing of it is under way; the next flush unlocks it
	refused   // the same, after Handler.Acquired failed
)

// adoption is a leftover that we took although it is owner's. It stays here while owner stays the owner: who did not take
// it in leftoverAfter has no room for it, and giving it back would leave it without a holder. It is offered again after
// a while, because the owner may just have been slow.
type adoption struct {
	owner string
	until time.Time
}

// offerAgain is long, because each offer that nobody takes costs leftoverAfter without a holder.
const offerAgain = 10 * time.Minute

// capacity is how many ids we may lock; 0: no limit. Sessions that only have not ended yet keep their locks until then.
func (k *Keeper) capacity() int { return k.limit(k.cfg.MaxLeases, max(k.sessions, len(k.members))) }

// limit is how many ids one of so many processes may lock that wants no more than most; 0: no limit. While there are
// fewer instances than the budget allows nobody can exceed it.
func (k *Keeper) limit(most, processes int) int {
	if k.crowded() {
		part := max(1, k.cfg.Budget/max(1, processes))
		if most == 0 || part < most {
			return part
		}
	}
	return most
}

// crowded says whether there are more instances than the budget has locks.
func (k *Keeper) crowded() bool { return k.cfg.Budget > 0 && len(k.ids) > k.cfg.Budget }

// fleet is who is present, with limits.
func (k *Keeper) fleet() []member {
	fleet := make([]member, len(k.members))
	for i, id := range k.members {
		fleet[i] = member{id: id, most: k.limit(k.most[id], len(k.members))}
	}
	return fleet
}

// room is how many more ids we may lock at this moment.
func (k *Keeper) room() int {
	if limit := k.capacity(); limit > 0 {
		return max(0, limit-len(k.leases))
	}
	return int(^uint(0) >> 1)
}

// balance brings what we hold closer to what we should hold.
func (k *Keeper) balance(news bool) {
	now := time.Now()
	ids := k.cfg.Handler.Instances()
	if k.weights != k.plan.weights || !slices.Equal(k.members, k.plan.members) || !slices.Equal(ids, k.ids) {
		k.ids = slices.Clone(ids)
		k.plan = newPlan(k.ids, k.fleet(), k.weights)
		k.own = k.plan.of(k.cfg.ID)
		k.sweepAt, k.sweeps = now.Add(leftoverAfter), 0
		news = true
	}
	if k.crowded() && k.late {
		k.grace = latest(k.grace, k.began.Add(makeRoom)) // what others hold above their new shares is beyond the budget
	}
	k.late = false
	if greeted := k.greeted.take(); len(greeted) > 0 {
		maps.DeleteFunc(k.adopted, func(_ int32, a adoption) bool { return greeted[a.owner] })
	}
	picks := k.pick(now)
	news = news || k.limited() && !slices.Equal(picks, k.picks)
	k.picks = picks
	k.giveUp(now)
	if now.Before(k.began.Add(settle)) {
		return
	}
	if news {
		k.retryAfter = firstRetry
	}
	if news || !now.Before(k.retryAt) {
		k.retryAt = now.Add(k.retryAfter)
		k.retryAfter = min(2*k.retryAfter, leftoverAfter)
		k.lock(k.missing(k.picks))
	}
	k.sweep(now)
	k.lacking = k.room() > 0 && len(k.missing(k.picks)) > 0
}

// giveUp drains what we hold and should not.
func (k *Keeper) giveUp(now time.Time) {
	var ids []int32
	picks := k.picks
	if k.limited() {
		picks = slices.Sorted(slices.Values(picks))
	}
	excess := 0
	if limit := k.capacity(); limit > 0 {
		excess = len(k.leases) - limit
	}
	for id, s := range k.leases {
		if s != held {
			continue
		}
		_, own := slices.BinarySearch(picks, id)
		switch {
		case own:
			delete(k.adopted, id)
		case !k.limited() && k.keepsAdopted(id, now) && excess <= 0:
		case k.settling[k.plan.ownerOf(id)] && excess <= 0: // it would wait there
		default:
			ids = append(ids, id)
			excess--
		}
	}
	k.drain(ids)
}

func (k *Keeper) keepsAdopted(id int32, now time.Time) bool {
	a, ok := k.adopted[id]
	return ok && a.owner == k.plan.ownerOf(id) && now.Before(a.until)
}

func (k *Keeper) missing(picks []int32) []int32 {
	var ids []int32
	for _, id := range picks {
		if _, ok := k.leases[id]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// sweep looks for leftovers. With each sweep another process asks for a given id, so that none is asked for twice
// and all together cost no more than one statement over all ids.
func (k *Keeper) sweep(now time.Time) {
	if now.Before(k.sweepAt) || len(k.members) < 2 || k.limited() {
		return
	}
	rank := k.sweeps % (len(k.members) - 1)
	k.sweeps++
	k.sweepAt = now.Add(leftoverAfter)
	if k.sweeps > min(len(k.members)+1, soonSweeps) {
		k.sweepAt = now.Add(sweepEvery)
	}
	if k.room() == 0 {
		return
	}
	got := k.lock(k.missing(k.plan.deputies(k.cfg.ID, rank)))
	if len(got) > 0 {
		k.sweeps = 0
		k.cfg.Log.Info("took instances that nobody held", "count", len(got))
	}
	for _, id := range got {
		// Spread by id, so that they are not all offered again at one moment.
		spread := time.Duration(hashed(id) % uint64(offerAgain))
		k.adopted[id] = adoption{owner: k.plan.ownerOf(id), until: now.Add(offerAgain + spread)}
	}
}

// lock tries ids and hands what it gets to the Handler.
func (k *Keeper) lock(ids []int32) []int32 {
	switch now := time.Now(); {
	case now.Before(k.noLocks):
		return nil
	case now.Before(k.grace):
		k.retryAt = k.grace
		return nil
	}
	ids = ids[:min(len(ids), k.room())]
	var all []int32
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), k.chunk)]
		start := k.term.now()
		got, err := k.cfg.Session.Lock(k.term.ctx, chunk)
		if err != nil {
			k.lockLess(len(chunk), err)
			break
		}
		k.term.extend(start)
		all = append(all, got...)
		k.turns.tried(chunk, got, time.Now().Add(leftoverAfter))
		ids = ids[len(chunk):]
		k.chunk = min(2*k.chunk, lockChunk)
	}
	if len(all) == 0 {
		return nil
	}
	for _, id := range all {
		k.leases[id] = acquiring
	}
	k.lookAgain()
	grace := k.grace
	k.handle(func() {
		k.sleepUntil(grace)
		then := held
		if err := k.cfg.Handler.Acquired(k.term.ctx, all); err != nil {
			k.complain("could not begin with leased instances; they are given back", err)
			then = refused
		}
		k.results.add(result{ids: all, then: then})
	})
	return all
}

// lockLess makes the next statement ask for half of what failed: where others have filled the server's lock table there
// may be room for some.
func (k *Keeper) lockLess(asked int, err error) {
	wait := leftoverAfter
	if asked > 1 {
		wait = lockLessAfter
	}
	k.chunk = max(1, asked/2)
	k.noLocks = time.Now().Add(wait)
	k.retryAt = k.noLocks
	k.complain(fmt.Sprintf("could not take leases; trying for fewer in %s", wait), err)
}

// handle runs calls of the Handler beside the heartbeat. One that panics ends the Keeper, and Run panics with it.
func (k *Keeper) handle(calls func()) {
	k.group.Go(func() {
		defer func() {
			if value := recover(); value != nil {
				k.term.cancel(fmt.Errorf("the handler panicked: %v", value))
				panic(value)
			}
		}()
		calls()
	})
}

// drain lets the Handler finish ids; each part of them is unlocked when it is done. The heartbeat goes on.
func (k *Keeper) drain(ids []int32) {
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	for _, id := range ids {
		k.leases[id] = draining
	}
	patience := k.drainFor
	k.handle(func() {
		ctx, cancel := context.WithTimeout(k.term.ctx, patience)
		defer cancel()
		rest := make(map[int32]bool, len(ids))
		for _, id := range ids {
			rest[id] = true
		}
		err := k.cfg.Handler.Release(ctx, ids, func(part []int32) {
			for _, id := range part {
				delete(rest, id)
			}
			k.results.add(result{ids: part, then: unlocking})
		})
		if err != nil {
			k.complain("could not write all cursors of instances that go to another process; it may send some activities again", err)
		}
		if len(rest) > 0 {
			k.results.add(result{ids: slices.Collect(maps.Keys(rest)), then: unlocking})
		}
	})
}

// finish takes in Handler calls that ended.
func (k *Keeper) finish() {
	var late []int32
	for _, r := range k.results.take() {
		for _, id := range r.ids {
			k.leases[id] = r.then
			if r.then == held {
				k.turns.begin(id, time.Now())
			}
			if r.then == held && k.leaving {
				late = append(late, id)
			}
		}
	}
	k.drain(late)
	k.flush()
	k.report()
}

// unlock gives up what nothing is under way for. What fails is tried again in the next round.
func (k *Keeper) unlock() {
	var ids []int32
	for id, s := range k.leases {
		if s == unlocking || s == refused {
			ids = append(ids, id)
		}
	}
	for chunk := range slices.Chunk(ids, lockChunk) {
		start := k.term.now()
		takers, ours := k.takers(chunk)
		if err := k.cfg.Session.Unlock(k.term.ctx, chunk, takers); err != nil {
			k.complain("could not give leases up; trying again", err)
			return
		}
		k.term.extend(start)
		visits, now := visitsEvery(len(k.own), max(1, k.capacity())), time.Now()
		for _, id := range chunk {
			k.turns.end(id, visits, now)
			if k.leases[id] == refused {
				k.retryAt = time.Time{} // in the next round
			}
			delete(k.leases, id)
			delete(k.adopted, id)
		}
		if ours {
			k.expect()
		}
	}
}

// leave gives everything up. The others see at once that we take nothing any more, and take over each
// instance as it is unlocked.
func (k *Keeper) leave() error {
	k.leaving = true
	k.drainFor = k.cfg.ShutdownTimeout
	clear(k.adopted)
	clear(k.settling) // who begins takes at once what nobody else can deliver to
	k.own, k.picks = nil, nil
	k.giveUp(time.Now()) // while that goes on, the others learn who leaves
	if err := k.cfg.Session.Leave(k.term.ctx); err != nil {
		k.complain("could not tell that this process leaves; its instances wait 5 s for another", err)
	}
	k.sayFarewell()
	if err := k.beat(); err != nil {
		k.complain("heartbeat failed", err)
	}
	k.handOn()
	k.flush()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	end := time.NewTimer(k.cfg.ShutdownTimeout + Term)
	defer end.Stop()
	for rung := false; len(k.leases) > 0; {
		select {
		case <-k.term.ctx.Done():
			return k.lost()
		case <-k.results.ready:
			k.finish()
		case <-k.wake:
			if !rung {
				rung = true
				beat.Reset(wakeGap)
			}
		case <-beat.C:
			rung = false
			beat.Reset(beatEvery)
			if err := k.beat(); err != nil {
				k.complain("heartbeat failed", err)
				continue
			}
			k.handOn()
			k.flush()
		case <-end.C:
			k.cfg.Log.Warn("not all instances could be given up in time; the end of the session does it", "count", len(k.leases))
			return nil
		}
	}
	return nil
}

// handOn plans who takes what this process gives up while it leaves. Others may leave at the same time.
func (k *Keeper) handOn() {
	others := slices.DeleteFunc(k.fleet(), func(m member) bool { return m.id == k.cfg.ID })
	if !slices.EqualFunc(others, k.plan.members, func(m member, id string) bool { return m.id == id }) {
		k.plan = newPlan(k.ids, others, k.weights)
	}
}

// beat proves the session alive and notes who is present.
func (k *Keeper) beat() error {
	start := k.term.now()
	peers, err := k.cfg.Session.Beat(k.term.ctx)
	if err != nil {
		return err
	}
	k.term.extend(start)
	k.observe(peers)
	return nil
}
