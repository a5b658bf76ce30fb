package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// stateChunk bounds how many instances' states one statement reads.
const stateChunk = 5000

// Instances implements [lease.Handler]: every instance may be leased, whatever its state, so that a block that ends or a
// host that comes back is noticed at once.
func (e *engine) Instances() []int32 { return e.index.IDs() }

// Acquired implements [lease.Handler].
func (e *engine) Acquired(ctx context.Context, ids []int32) error {
	for part := range slices.Chunk(ids, stateChunk) {
		if err := e.begin(ctx, part, false); err != nil {
			return err
		}
	}
	e.metrics.LeasesTaken(len(ids))
	return nil
}

// Release implements [lease.Handler]: nothing starts any more, what is in flight ends or is cancelled when ctx ends, the
// cursors are written.
func (e *engine) Release(ctx context.Context, ids []int32) error {
	waits := e.dispatcher.drain(ids)
	for _, drained := range waits {
		select {
		case <-drained:
		case <-ctx.Done():
			e.dispatcher.cancel(ids)
			<-drained
		}
	}
	// The time for deliveries may be over; the cursors have their own.
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*time.Second)
	defer cancel()
	err := e.save(saving, ids, 0)
	e.dispatcher.remove(ids)
	e.metrics.LeasesGiven(len(ids))
	return err
}

// reload begins anew with those of the instances that are held, from what the database has.
func (e *engine) reload(ctx context.Context, ids []int32) error {
	ids = e.dispatcher.among(ids)
	if len(ids) == 0 {
		return nil
	}
	return e.begin(ctx, ids, true)
}

// begin reads the states of instances and begins with them.
func (e *engine) begin(ctx context.Context, ids []int32, anew bool) error {
	states, err := pg.ReadQueueStates(ctx, e.pool, ids)
	if err != nil {
		return err
	}
	slots := make([]*slot, 0, len(states))
	var held []int64
	for i := range states {
		s, err := e.newSlot(&states[i])
		if err != nil {
			return err
		}
		slots = append(slots, s)
		held = append(held, s.worker.HeldIDs()...)
	}
	if err := e.restore(ctx, slots, held); err != nil {
		return err
	}
	e.dispatcher.add(slots, anew)
	if len(states) < len(ids) {
		e.log.Debug("some leased instances have no queue state; they were deleted", "count", len(ids)-len(states))
	}
	return e.redeliver(ctx, ids)
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
		worker:  worker.New(state, worker.Limits{MaxWindow: e.config.MaxInFlightPerInstance}, seen, uint64(q.InstanceID)),
		blocked: e.index.Blocked(q.InstanceID, time.Now()),
	}
	s.control(q, e.config.MaxInFlightPerInstance)
	s.savedVersion = s.worker.Version()
	return s, nil
}

// restore reads held activities again and gives them back to the workers.
func (e *engine) restore(ctx context.Context, slots []*slot, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := pg.ReadActivities(ctx, e.pool, unique(ids))
	if err != nil {
		return err
	}
	byID := make(map[int64]*pg.Activity, len(rows))
	for i := range rows {
		byID[rows[i].ID] = &rows[i]
	}
	for _, s := range slots {
		for _, id := range s.worker.HeldIDs() {
			row := byID[id]
			if row == nil {
				s.worker.RestoreGone(id)
				continue
			}
			activity, reason, err := e.prepare(ctx, row)
			if err != nil {
				return err
			}
			inboxes := s.wanted(row, e.inboxes(row, s.id))
			switch {
			case reason != "":
				e.dispatcher.addLetter(id, "", reason)
				s.worker.RestoreGone(id)
			case len(inboxes) == 0:
				s.worker.RestoreGone(id)
			default:
				s.worker.Restore(worker.Job{Activity: activity, Inboxes: inboxes})
			}
		}
	}
	return nil
}
