package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

const (
	// stateChunk bounds how many instances' states one statement reads.
	stateChunk = 5000
	// giveBackAfter is how long deliveries may take to end whose leases are given up after an error.
	giveBackAfter = 5 * time.Second
)

// Instances implements [lease.Handler]: every instance may be leased, whatever its state, so that a block that ends or a
// host that comes back is noticed at once.
func (e *engine) Instances() []int32 { return e.index.IDs() }

// Acquired implements [lease.Handler].
func (e *engine) Acquired(ctx context.Context, ids []int32) error {
	for part := range slices.Chunk(ids, stateChunk) {
		if err := e.begin(ctx, e.dispatcher.expect(part, false)); err != nil {
			if pg.TablesChanged(err) { // nobody else tells it
				e.troubled(ctx, "could not begin with leased instances", err)
			}
			return errors.Join(err, e.giveBack(ctx, ids))
		}
	}
	e.metrics.LeasesTaken(len(ids))
	e.noteSetbacks(ctx)
	return nil
}

// giveBack ends what was begun of instances whose leases will be given up after an error.
func (e *engine) giveBack(ctx context.Context, ids []int32) error {
	ctx, cancel := context.WithTimeout(ctx, giveBackAfter)
	defer cancel()
	return e.Release(ctx, ids, func([]int32) {})
}

// reload begins anew with those of the instances that are held, from what the database has.
func (e *engine) reload(ctx context.Context, ids []int32) error {
	return e.begin(ctx, e.dispatcher.expect(ids, true))
}

// begin reads the states of instances and begins with them; again with those whose state was changed meanwhile.
func (e *engine) begin(ctx context.Context, b *beginning) error {
	defer e.dispatcher.forget(b)
	for ids := b.ids; len(ids) > 0; {
		slots, err := e.readSlots(ctx, ids, b.anew)
		if err != nil {
			return err
		}
		if len(slots) < len(ids) {
			e.log.Debug("some leased instances have no queue state; they were deleted", "count", len(ids)-len(slots))
		}
		if ids = e.dispatcher.add(b, slots); len(ids) > 0 {
			e.awaitSave()
		}
	}
	e.dispatcher.change(b.ids, e.applyLists) // they may have changed since the states were read
	e.dispatcher.wantRedeliveries(b.ids)
	return nil
}

// awaitSave waits for the save that is under way, if there is one.
func (e *engine) awaitSave() {
	e.saveMu.Lock()
	defer e.saveMu.Unlock()
}

// readStates reads the states of instances. Those that have none get one; those that were deleted are missing.
func (e *engine) readStates(ctx context.Context, ids []int32) ([]pg.QueueState, error) {
	states, err := pg.ReadQueueStates(ctx, e.pool, ids)
	if err != nil || len(states) == len(ids) {
		return states, err
	}
	if err := pg.BeginInstances(ctx, e.pool, ids); err != nil {
		return nil, err
	}
	return pg.ReadQueueStates(ctx, e.pool, ids)
}

func (e *engine) readSlots(ctx context.Context, ids []int32, anew bool) ([]*slot, error) {
	states, err := e.readStates(ctx, ids)
	if err != nil {
		return nil, err
	}
	slots := make([]*slot, 0, len(states))
	holders := map[int64][]*slot{}
	for i := range states {
		s, err := e.newSlot(&states[i])
		if err != nil {
			return nil, err
		}
		slots = append(slots, s)
		for _, id := range s.worker.HeldIDs() {
			holders[id] = append(holders[id], s)
		}
	}
	if !anew {
		// What we held ourselves we have read.
		if err := e.awaitHead(ctx, slices.Collect(maps.Keys(holders))); err != nil {
			return nil, err
		}
	}
	return slots, e.restore(ctx, holders)
}

// awaitHead waits until the head has read up to the last of what is held. Another holder may have been further on: who
// followed since then is not in our index yet, and an activity would be taken for one that is not meant for the instance.
// What is gone, as after a restore of the application's tables from an older backup, the head may not come to for long.
func (e *engine) awaitHead(ctx context.Context, held []int64) error {
	if len(held) == 0 || slices.Max(held) <= e.dispatcher.decided() {
		return nil
	}
	id, err := pg.HighestOf(ctx, e.pool, held)
	if err != nil {
		return err
	}
	for e.dispatcher.decided() < id {
		e.ringHead()
		select {
		case <-e.ended:
			return errors.New("this process ends")
		default:
		}
		if pause(ctx, gapPoll); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (e *engine) newSlot(q *pg.QueueState) (*slot, error) {
	state := worker.State{
		Cursor: q.Cursor, PublishedAt: q.PublishedAt, FailCount: q.FailCount, LastRetryAt: q.LastRetryAt,
		NotBefore: q.NotBefore, Throttles: q.Throttles, GoneAt: q.GoneAt, Gone: q.Gone, LastSuccessAt: q.LastSuccessAt,
		LastError: q.LastError, LastHTTPStatus: q.LastStatus, LastErrorAt: q.LastErrorAt, AheadID: q.AheadID,
	}
	if len(q.Held) > 0 {
		if err := json.Unmarshal(q.Held, &state.Held); err != nil {
			return nil, fmt.Errorf("instance %d: what is held of its activities can't be read: %w", q.InstanceID, err)
		}
	}
	instance, _ := e.index.Instance(q.InstanceID)
	seen := instance.CreatedAt
	if instance.LastSeenAt.After(seen) {
		seen = instance.LastSeenAt
	}
	s := &slot{
		id: q.InstanceID, start: q.Start, savedCursor: q.Cursor,
		worker:  worker.New(state, e.limits(), seen, uint64(q.InstanceID)),
		blocked: e.index.Blocked(q.InstanceID, clock()),
	}
	s.control(q, e.config.MaxInFlightPerInstance)
	s.savedVersion = s.worker.Version()
	return s, nil
}

func (e *engine) limits() worker.Limits {
	return worker.Limits{MaxWindow: e.config.MaxInFlightPerInstance, Rules: e.rules.Load()}
}

// restore reads held activities again and gives them back to the workers of their holders.
func (e *engine) restore(ctx context.Context, holders map[int64][]*slot) error {
	err := e.eachActivity(ctx, slices.Collect(maps.Keys(holders)), func(row *pg.Activity, activity *worker.Activity, reason string) {
		var refused []int32
		for _, s := range holders[row.ID] {
			inboxes := s.wanted(row, e.inboxes(row, s.id))
			switch {
			case len(inboxes) == 0:
			case reason != "":
				refused = append(refused, s.id)
			default:
				s.worker.Restore(worker.Job{Activity: activity, Inboxes: inboxes})
			}
		}
		e.dispatcher.refuseHeld(row.ID, refused, reason)
	})
	if err != nil {
		return err
	}
	for id, slots := range holders {
		for _, s := range slots {
			s.worker.RestoreGone(id) // unless it was restored
		}
	}
	return nil
}
