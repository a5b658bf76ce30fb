package sender

import (
	"context"
	"errors"
	"slices"

	"github.com/fedsender/fedsender/pg"
)

// errLocked is matched where all was written but cursors that another session keeps locked.
var errLocked = errors.New("another session has locked the cursors of instances")

// lockedError is errLocked of certain instances.
type lockedError struct {
	ids     []int32
	domains string // some of them
}

func (e *lockedError) Error() string { return errLocked.Error() + ": " + e.domains }

func (e *lockedError) Unwrap() error { return errLocked }

// cursorsRefused deals with instances whose cursor a save did not write, because it is not where this process left it (an
// operator skipped or replayed, or another program writes cursors too) or because its row is locked, which is errLocked. In
// both cases, and where it fails, the next save meets them again, and until then nothing more is sent to those that have
// something to save.
func (e *engine) cursorsRefused(ctx context.Context, ids []int32) error {
	if len(ids) == 0 {
		return nil
	}
	still, err := e.recheckCursors(ctx, ids)
	if err != nil {
		e.troubled(ctx, "could not read moved cursors", err)
		return nil
	}
	if still = e.dispatcher.unsavedOf(still, nil); len(still) > 0 {
		return &lockedError{still, e.domains(still, 5)}
	}
	return nil
}

// movedOf tells the held ones of instances whose cursor is not the one that was last saved, and those that have none any more,
// from the others.
func (d *dispatcher) movedOf(ids []int32, states []pg.QueueState) (moved, gone, still []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cursors := make(map[int32]int64, len(states))
	for i := range states {
		cursors[states[i].InstanceID] = states[i].Cursor
	}
	for _, id := range ids {
		s := d.slots[id]
		if s == nil {
			continue
		}
		switch cursor, there := cursors[id]; {
		case !there:
			gone = append(gone, id)
		case cursor != s.savedCursor:
			moved = append(moved, id)
		default:
			still = append(still, id)
		}
	}
	return moved, gone, still
}

// followMoved goes on from where the cursors are now. Instances that have none any more were deleted.
func (e *engine) followMoved(ctx context.Context, moved, gone []int32) error {
	ids := slices.Concat(moved, gone)
	if e.source.Load().StopsOnMovedCursor {
		return e.judgeMoved(ctx, ids)
	}
	if len(moved) > 0 {
		e.log.Warn("the cursors of instances were moved by somebody else; going on from where they are", "instances", e.domains(moved, 5), "count", len(moved))
	}
	return e.reload(ctx, ids)
}

// judgeMoved goes on from where an operator moved cursors to, which the log of changes tells. An instance whose cursor
// another program moved is paused for ever: most likely the application's own sender runs beside this one, and each
// activity would be sent twice. Of the application's tables nothing is written.
func (e *engine) judgeMoved(ctx context.Context, ids []int32) error {
	e.judging.Lock() // two saves may have met the same
	defer e.judging.Unlock()
	e.saveMu.Lock() // so that it is not us who move them
	left := e.dispatcher.savedCursors(ids)
	// In this order: what announces a move that the states have was committed with it.
	states, err := pg.ReadQueueStates(ctx, e.pool, ids)
	e.saveMu.Unlock()
	if err != nil {
		return err
	}
	announced, err := pg.AnnouncedCursors(ctx, e.pool, ids, e.changesApplied.Load())
	if err != nil {
		return err
	}
	if strays := e.dispatcher.stopStrays(states, left, announced); len(strays) > 0 {
		var stopped []int32
		for i, s := range strays {
			strays[i].Domain = e.domains([]int32{s.InstanceID}, 1)
			stopped = append(stopped, s.InstanceID)
		}
		if err := pg.PauseStrays(ctx, e.pool, strays); err != nil {
			return err
		}
		e.metrics.CursorsMoved(len(strays))
		e.log.Error("another program moved the cursors of instances: they are paused, and nothing more is sent to them. Is the application's own sender still running? Stop it, then: sender resume DOMAIN (sender doctor lists them)",
			"instances", e.domains(stopped, 5), "count", len(strays), "from", strays[0].From, "to", strays[0].To)
	}
	return e.reload(ctx, ids)
}

// savedCursors is where this process left the cursors of those of the instances that are held.
func (d *dispatcher) savedCursors(ids []int32) map[int32]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := make(map[int32]int64, len(ids))
	for _, id := range ids {
		if s := d.slots[id]; s != nil {
			left[id] = s.savedCursor
		}
	}
	return left
}

// stopStrays stops the held ones of these instances whose cursor another program moved from where it was left, and returns
// them. Those that were begun anew or saved since the states were read are none, and those that are paused for ever already
// only begin anew.
func (d *dispatcher) stopStrays(states []pg.QueueState, left map[int32]int64, announced []int32) (strays []pg.Stray) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for i := range states {
		state := &states[i]
		s := d.slots[state.InstanceID]
		if s == nil || s.savedCursor != left[s.id] || s.savedCursor == state.Cursor || slices.Contains(announced, s.id) || !state.PausedUntil.Before(endless) {
			continue
		}
		strays = append(strays, pg.Stray{InstanceID: s.id, From: s.savedCursor, To: state.Cursor})
		s.pausedUntil = endless
		d.settlePause(s, now)
	}
	return strays
}

// movedWhilePaused returns the held ones of the instances whose cursor was moved while they were paused: they have begun
// before, and must not go on from there.
func (d *dispatcher) movedWhilePaused(states []pg.QueueState) (ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for i := range states {
		if s := d.slots[states[i].InstanceID]; s != nil && s.pausedUntil.After(now) && s.savedCursor != states[i].Cursor {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// spoilAll notes that the state of any instance may have changed in the database.
func (d *dispatcher) spoilAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.beginnings {
		d.spoil(id)
	}
}
