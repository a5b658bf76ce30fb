package sender

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

// apply brings the index and the workers up to what was committed. It tries until the database has answered, because the
// feed does not tell again; its error is the context's.
func (e *engine) apply(ctx context.Context, feed *pg.Feed, c *pg.Changes) error {
	if c.Reload {
		err := e.insist(ctx, "could not load followers; trying again", func(ctx context.Context) error {
			return e.loadAndRecheck(ctx, feed)
		})
		if err != nil {
			return err
		}
	}
	e.refreshing.note(c)
	return e.insist(ctx, "could not read what changed; trying again", func(ctx context.Context) error {
		return e.applyOnce(ctx, c)
	})
}

// loadAndRecheck loads everything anew, and looks what of it was to be told by the log of changes.
func (e *engine) loadAndRecheck(ctx context.Context, feed *pg.Feed) error {
	if err := e.load(ctx, feed); err != nil {
		return err
	}
	e.dispatcher.spoilAll()
	_, err := e.recheckCursors(ctx, e.dispatcher.held())
	return err
}

// recheckCursors looks for instances whose cursor was moved, where nobody can say which, and goes on from there. It returns
// those of them that are held whose cursor is where this process left it.
func (e *engine) recheckCursors(ctx context.Context, ids []int32) (still []int32, err error) {
	for part := range slices.Chunk(ids, stateChunk) {
		e.saveMu.Lock() // so that it is not us who move them
		states, err := pg.ReadQueueStates(ctx, e.pool, part)
		e.saveMu.Unlock()
		if err != nil {
			return nil, err
		}
		moved, gone, others := e.dispatcher.movedOf(part, states)
		if len(moved)+len(gone) > 0 {
			if err := e.followMoved(ctx, moved, gone); err != nil {
				return nil, err
			}
		}
		still = append(still, others...)
	}
	return still, nil
}

func (e *engine) applyOnce(ctx context.Context, c *pg.Changes) error {
	if err := e.rereadTargets(ctx, e.index, c); err != nil {
		return err
	}
	if len(c.Actors) > 0 {
		e.forgetKeys(c.Actors)
	}
	e.dispatcher.noteNow(slices.Concat(c.Controls, c.Cursors, c.Retries, c.Redeliveries, c.Instances), clock())
	if err := e.rereadControls(ctx, unique(c.Controls)); err != nil {
		return err
	}
	e.dispatcher.forgetCursors(c.Cursors)
	if err := e.reload(ctx, unique(c.Cursors)); err != nil {
		return err
	}
	e.dispatcher.change(e.dispatcher.touch(unique(c.Retries)), func(s *slot, _ time.Time) { s.worker.RetryNow() })
	return e.redeliver(ctx, unique(c.Redeliveries))
}

// rereadTargets brings an index up to date.
func (e *engine) rereadTargets(ctx context.Context, index *targets.Index, c *pg.Changes) error {
	for _, t := range c.Tombstones {
		index.AddTombstone(targets.Tombstone(t))
	}
	if err := e.rereadPairs(ctx, index, c.Pairs, c.Snapshot); err != nil {
		return err
	}
	if err := e.rereadInstances(ctx, index, c.Instances); err != nil {
		return err
	}
	if c.Lists {
		return e.rereadLists(ctx, index)
	}
	return nil
}

func unique[T int32 | int64](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// rereadPairs reads who follows. Who left since the snapshot still gets what was committed before.
func (e *engine) rereadPairs(ctx context.Context, index *targets.Index, pairs []pg.Pair, since pg.Snapshot) error {
	if len(pairs) == 0 {
		return nil
	}
	followers, err := pg.ReadPairs(ctx, e.pool, pairs)
	if err != nil {
		return err
	}
	left, err := pg.ReadTombstones(ctx, e.pool, since)
	if err != nil {
		return err
	}
	for _, t := range left {
		index.AddTombstone(targets.Tombstone(t))
	}
	inboxes := make(map[pg.Pair][]targets.Inbox, len(pairs))
	for _, p := range pairs {
		inboxes[p] = nil
	}
	for _, f := range followers {
		p := pg.Pair{ActorID: f.ActorID, InstanceID: f.InstanceID}
		inboxes[p] = append(inboxes[p], targets.Inbox{URL: f.Inbox, Shared: f.Shared})
	}
	for p, list := range inboxes {
		index.SetPair(p.ActorID, p.InstanceID, list)
	}
	return nil
}

func (e *engine) rereadInstances(ctx context.Context, index *targets.Index, ids []int32) error {
	ids = unique(ids)
	if len(ids) == 0 {
		return nil
	}
	found, err := pg.ReadInstances(ctx, e.pool, ids)
	if err != nil {
		return err
	}
	gone := make(map[int32]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	for _, i := range found {
		delete(gone, i.ID)
		index.SetInstance(targets.Instance(i))
	}
	var removed []int32
	for id := range gone {
		removed = append(removed, id)
	}
	index.RemoveInstance(removed...)
	for _, id := range removed {
		e.dispatcher.cancel(id) // its domain may be another instance's by now, that another process delivers to
	}
	seen := make(map[int32]time.Time, len(found))
	for _, i := range found {
		seen[i.ID] = i.LastSeenAt
	}
	e.dispatcher.change(ids, func(s *slot, now time.Time) {
		if at := seen[s.id]; !at.IsZero() {
			s.worker.Seen(now, at)
		}
		e.applyLists(s, now)
	})
	e.wakeKeeper()
	return nil
}

func (e *engine) wakeKeeper() {
	if keeper := e.keeper.Load(); keeper != nil {
		keeper.Wake()
	}
}

func (e *engine) hearLeases(payload string) {
	if keeper := e.keeper.Load(); keeper != nil {
		keeper.Hear(payload)
	}
}

func (e *engine) rereadLists(ctx context.Context, index *targets.Index) error {
	allow, block, err := pg.ReadLists(ctx, e.pool)
	if err != nil {
		return err
	}
	index.SetLists(listEntries(allow), listEntries(block))
	e.noteLists()
	e.dispatcher.change(e.dispatcher.held(), e.applyLists)
	return nil
}

func listEntries(list []pg.ListEntry) []targets.ListEntry {
	entries := make([]targets.ListEntry, len(list))
	for i, entry := range list {
		entries[i] = targets.ListEntry(entry)
	}
	return entries
}

// applyLists blocks or unblocks a slot, by the lists and by the clock.
func (e *engine) applyLists(s *slot, now time.Time) {
	if blocked := e.index.Blocked(s.id, now); blocked != s.blocked {
		s.blocked = blocked
		e.dispatcher.settlePause(s, now)
	}
}

// noteLists has runListExpiry look when the next entry expires.
func (e *engine) noteLists() {
	select {
	case e.listsChanged <- struct{}{}:
	default:
	}
}

// runListExpiry looks again when an entry of a list expires, and at least once a minute.
func (e *engine) runListExpiry(ctx context.Context) {
	for ctx.Err() == nil {
		now := clock()
		wait := time.Minute
		if next := e.index.NextExpiry(now); !next.IsZero() {
			wait = max(time.Millisecond, min(wait, next.Sub(now)))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.listsChanged:
			timer.Stop()
			continue
		case <-timer.C:
		}
		e.dispatcher.change(e.dispatcher.held(), e.applyLists)
	}
}

// settlePause leaves a slot that may not send now to the catch-up, so that its cursor stands still meanwhile.
func (d *dispatcher) settlePause(s *slot, now time.Time) {
	if s.stopped(now) {
		d.leaveHead(s)
	}
	s.worker.PauseUntil(s.until())
}

func (e *engine) rereadControls(ctx context.Context, ids []int32) error {
	if ids = e.dispatcher.touch(ids); len(ids) == 0 {
		return nil
	}
	states, err := pg.ReadQueueStates(ctx, e.pool, ids)
	if err != nil {
		return err
	}
	byID := make(map[int32]*pg.QueueState, len(states))
	for i := range states {
		byID[states[i].InstanceID] = &states[i]
	}
	moved := e.dispatcher.movedWhilePaused(states)
	e.dispatcher.change(ids, func(s *slot, now time.Time) {
		if state := byID[s.id]; state != nil && !slices.Contains(moved, s.id) {
			s.control(state, e.config.MaxInFlightPerInstance)
			e.dispatcher.settlePause(s, now)
		}
	})
	if len(moved) == 0 {
		return nil
	}
	return e.reload(ctx, moved)
}

// inboxes are those of one instance that an activity is for.
func (e *engine) inboxes(row *pg.Activity, id int32) []worker.Inbox {
	return e.index.For(targets.NewQuestion(query(row)), id)
}

func query(row *pg.Activity) targets.Query {
	return targets.Query{
		ActivityID: row.ID, Inboxes: row.Inboxes, FollowersOf: row.FollowersOf, AllInstances: row.AllInstances,
	}
}

// adopt makes the instances of inboxes on domains that nobody knew, so that they begin with this activity. refused are
// inboxes that nothing may be sent to, and those whose instance only the application could have made, and has not.
func (e *engine) adopt(ctx context.Context, activityID int64, unknown []targets.Unknown) (refused []targets.Bad, err error) {
	var domains []string
	policy := e.policy(e.source.Load())
	for _, u := range unknown {
		if _, err := policy.CheckInbox(u.Inbox); err != nil {
			refused = append(refused, targets.Bad{Inbox: u.Inbox, Reason: err.Error()})
		} else {
			domains = append(domains, u.Domain)
		}
	}
	slices.Sort(domains)
	domains = slices.Compact(domains)
	if len(domains) == 0 {
		return refused, nil
	}
	var made []pg.Instance
	err = e.insist(ctx, "could not make the instances that an activity names; trying again", func(ctx context.Context) (err error) {
		made, err = pg.Adopt(ctx, e.pool, activityID, domains)
		return err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]int32, len(made))
	for n, i := range made {
		e.index.SetInstance(targets.Instance(i))
		ids[n] = i.ID
	}
	e.refreshing.note(&pg.Changes{Instances: ids})
	for _, u := range unknown {
		_, found := e.index.ByDomain(u.Domain)
		if !found && slices.Contains(domains, u.Domain) {
			refused = append(refused, targets.Bad{Inbox: u.Inbox, Reason: fmt.Sprintf("there is no instance %s for the inbox", u.Domain)})
		}
	}
	e.dispatcher.noteNow(ids, clock())
	e.wakeKeeper()
	return refused, nil
}
