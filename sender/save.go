package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
)

const (
	// saveEvery is the longest that a settled delivery is in no cursor while others start: saves begin early enough for
	// that, and where they take too long, or fail, nothing more is sent to the instance until one succeeds, but little that is
	// for few: see [slot.mustBeSaved]. So what a process that dies has sent in vain is a second of deliveries and what was in
	// flight, however slow the database is.
	saveEvery = time.Second
	// saveLull is left after a turn that took that long, and after a save that failed, whoever waits for the next.
	saveLull = saveEvery / 10
	// idleEvery is the longest that a cursor stays behind where nothing was meant for the instance. Each save takes
	// a part of them, idleBlock ids in a row: their rows share pages, which are locked, changed and logged by the page.
	idleEvery = 60
	idleBlock = 128
	// noTurn is for a save between those.
	noTurn = -1
	// maxCheckpoints and maxLetters keep one part of a save far below the 1.5 s that the lease session gives a statement
	// (30,000 cursors take more than 2 s): one that is too long would be longer the next time.
	maxCheckpoints = 2000
	maxLetters     = 2000
	// hurriedCheckpoints is for a part while something for few waits: that waits for the part before it too.
	hurriedCheckpoints = 500
	// maxParts bounds one save where ever more of those come up meanwhile. One of certain cursors, which come behind all dead
	// letters, is bounded by its context.
	maxParts = 256
	// maxLetterInstances is how many instances the letters of one save name together, unless one names more.
	maxLetterInstances = 50_000
	// publishTimeout bounds what nobody waits for and what holds up the next save.
	publishTimeout = 2 * time.Second
)

// saving is what one part of a save writes, and what is noted of it afterwards.
type saving struct {
	pg.Saving
	slots   []*slot // those of Checkpoints
	version []uint64
	at      time.Time // an outcome that came later is not in it
	passed  []*slot   // those of Passed
	horizon int64     // 0: not all letters up to it are in this save
	more    bool      // it is not all
}

// end notes that it is under way no more. dispatcher.mu is held.
func (v *saving) end() {
	for _, s := range v.slots {
		s.saving = false
	}
	for _, s := range v.passed {
		s.saving = false
	}
}

// addLetter notes an inbox that names no server.
func (d *dispatcher) addLetter(activityID int64, inbox, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	d.unsaved.Letters = append(d.unsaved.Letters,
		pg.Letter{ActivityID: activityID, Inbox: targets.WithoutUser(inbox), Reason: reason, FirstAt: now, LastAt: now})
}

// takeSaving collects the next part of a save.
func (d *dispatcher) takeSaving(r *round) (*saving, error) {
	if r.ids == nil && !r.ordered {
		d.order(r)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v := &saving{at: time.Now()}
	if letters, n := d.unsaved.Letters, fitting(d.unsaved.Letters); n < len(letters) {
		v.Letters, d.unsaved.Letters, v.more = letters[:n:n], letters[n:], true
		return v, nil
	}
	v.horizon = d.head
	take := d.takePart
	if r.ids != nil {
		take = d.takeAll
	}
	if err := take(v, r); err != nil {
		v.end()
		return nil, err
	}
	v.Letters = append(d.unsaved.Letters, v.Letters...)
	v.Redelivered = append(d.unsaved.Redelivered, v.Redelivered...)
	d.unsaved = pg.Saving{}
	return v, nil
}

// takeAll collects those that the save is restricted to.
func (d *dispatcher) takeAll(v *saving, r *round) error {
	for _, id := range r.ids {
		s := d.slots[id]
		if s == nil || s.worker.Version() == s.savedVersion && d.pass(v, s) {
			continue
		}
		if err := d.collect(v, s); err != nil {
			return err
		}
	}
	return nil
}

// moved says whether the slot's cursor is not where the database has it, although nothing was delivered.
func (d *dispatcher) moved(s *slot) bool {
	return s.worker.Cursor() != s.savedCursor || !s.behind && s.worker.Idle() && s.savedCursor < d.head
}

// pass notes an instance of which nothing changed but that the head went by, if that is so.
func (d *dispatcher) pass(v *saving, s *slot) bool {
	if s.behind || !s.worker.Idle() {
		return false
	}
	if s.worker.Offered() < d.head {
		s.worker.Pass(d.head, d.headAt)
	}
	if s.worker.Cursor() != d.head {
		return false
	}
	v.Passed.Cursor, v.Passed.PublishedAt = d.head, optional(d.headAt)
	v.Passed.InstanceIDs = append(v.Passed.InstanceIDs, s.id)
	v.Passed.Expected = append(v.Passed.Expected, s.savedCursor)
	v.passed = append(v.passed, s)
	s.saving = true
	d.spoil(s.id)
	return true
}

func (d *dispatcher) collect(v *saving, s *slot) error {
	if !s.behind && s.worker.Offered() < d.head {
		s.worker.Pass(d.head, d.headAt)
	}
	state := s.worker.State()
	held, err := json.Marshal(state.Held)
	if err != nil {
		return fmt.Errorf("save the state of instance %d: %w", s.id, err)
	}
	if state.Held == nil {
		held = json.RawMessage("[]")
	}
	v.Checkpoints = append(v.Checkpoints, pg.Checkpoint{
		InstanceID: s.id, Expected: s.savedCursor, Cursor: state.Cursor, PublishedAt: optional(state.PublishedAt),
		FailCount: state.FailCount, LastRetryAt: optional(state.LastRetryAt), NotBefore: optional(state.NotBefore),
		Throttles: state.Throttles, GoneAt: state.GoneAt, Gone: state.Gone, LastSuccessAt: optional(state.LastSuccessAt),
		LastError: state.LastError, LastStatus: state.LastHTTPStatus, LastErrorAt: optional(state.LastErrorAt),
		AheadID: state.AheadID, Held: held,
	})
	for _, l := range s.worker.TakeLetters() {
		v.Letters = append(v.Letters, pg.Letter{
			ActivityID: l.ActivityID, InstanceID: s.id, Inbox: targets.WithoutUser(l.Inbox), Reason: l.Reason, HTTPStatus: l.HTTPStatus,
			Attempts: l.Attempts, FirstAt: l.FirstAt, LastAt: l.LastAt,
		})
	}
	for _, job := range s.worker.TakeRedelivered() {
		v.Redelivered = append(v.Redelivered, s.redelivering[job.Activity.ID])
	}
	v.slots = append(v.slots, s)
	s.saving = true
	v.version = append(v.version, s.worker.Version())
	d.spoil(s.id)
	return nil
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// noteSaved remembers what the database has now and returns the instances whose cursor it did not take.
func (d *dispatcher) noteSaved(v *saving, saved map[int32]bool) (refused []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.dispatch()
	now := clock()
	v.end()
	d.noteRedelivered(v.Redelivered)
	for i, s := range v.slots {
		if s.dropped {
			continue
		}
		if s.refused = !saved[s.id]; s.refused {
			refused = append(refused, s.id)
			continue
		}
		late := s.late()
		s.heldUp = false
		s.savedCursor, s.savedVersion, s.unsavedSince = v.Checkpoints[i].Cursor, v.version[i], time.Time{}
		if s.worker.Version() != s.savedVersion {
			s.unsavedSince = v.at
		}
		if late {
			d.look(s, now)
		}
		d.cursors[s.id] = s.savedCursor
		d.spoil(s.id)
	}
	for _, s := range v.passed {
		switch {
		case s.dropped:
		case !saved[s.id]:
			refused = append(refused, s.id)
		default:
			s.savedCursor = v.Passed.Cursor
			d.spoil(s.id)
		}
	}
	d.heldUp = slices.DeleteFunc(d.heldUp, func(s *slot) bool { return s.dropped || !s.heldUp })
	return refused
}

// giveBack keeps what no worker remembers for the next save.
func (d *dispatcher) giveBack(v *saving) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.end()
	d.unsaved.Letters = append(v.Letters, d.unsaved.Letters...)
	d.unsaved.Redelivered = append(v.Redelivered, d.unsaved.Redelivered...)
}

// save writes what changed, on the lease session: if that is gone, nothing is written. A worker's dead letters are in the
// same transaction as the cursor that passes them, or in an earlier one. A [*lockedError] says that all was written but
// some cursors.
func (e *engine) save(ctx context.Context, ids []int32, turn int) error {
	r := &round{ids: ids, turn: turn, refused: map[int32]bool{}}
	for n := 0; ids != nil || n < maxParts; n++ {
		if err := ctx.Err(); ids != nil && err != nil {
			return fmt.Errorf("write cursors: %w", err)
		}
		more, err := e.savePart(ctx, r)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	return e.cursorsRefused(ctx, slices.Sorted(maps.Keys(r.refused)))
}

// savePart writes one part of a save, and says whether there is another.
func (e *engine) savePart(ctx context.Context, r *round) (more bool, err error) {
	e.saveMu.Lock()
	defer e.saveMu.Unlock()
	session := e.session.Load()
	if session == nil {
		return false, nil
	}
	v, err := e.dispatcher.takeSaving(r)
	if err != nil {
		return false, err
	}
	if !v.Empty() {
		began := time.Now()
		saved, err := e.write(ctx, session, v)
		if err != nil {
			e.dispatcher.giveBack(v)
			return false, fmt.Errorf("write cursors: %w", err)
		}
		e.metrics.Saved(time.Since(began))
		e.metrics.CursorsWritten(len(v.Checkpoints) + len(v.passed))
		e.metrics.DeadLetters(len(v.Letters))
		e.tracing.saved(ctx, v.slots, v.at)
		for _, id := range e.dispatcher.noteSaved(v, saved) {
			r.refused[id] = true
		}
	}
	// A part of a handover, which nobody should wait for, says no more than the next save, nor does one that another follows.
	if r.ids == nil && (!v.more || time.Since(e.publishedAt) >= saveEvery) {
		e.publish(ctx, v.horizon)
	}
	return v.more, nil
}

func (e *engine) write(ctx context.Context, session *pg.LeaseSession, v *saving) (saved map[int32]bool, err error) {
	batch, saved, err := v.Batch()
	if err != nil {
		return nil, err
	}
	return saved, session.Save(ctx, batch)
}

// publish tells the others, and those who start later, up to where everything has been dealt with. The next save makes
// up for one that fails.
func (e *engine) publish(ctx context.Context, horizon int64) {
	if horizon <= e.published {
		return
	}
	e.publishedAt = time.Now()
	bounded, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := pg.PublishHorizon(bounded, e.pool, horizon); err != nil {
		e.troubled(ctx, "could not publish the horizon; trying again", err)
		return
	}
	e.published = horizon
}

// runSaves saves until ctx ends, so often that what settles right after one save began is written by the next within
// saveEvery. What fails is tried again: Save drops nothing that is not void anyhow.
func (e *engine) runSaves(ctx context.Context) {
	var beside conc.WaitGroup
	defer beside.Wait()
	beside.Go(func() { e.runRedeliveries(ctx) })
	saveOften(ctx, e.dispatcher.saveSoon, func(turn int) error {
		e.pulse.beat()
		err := e.save(ctx, nil, turn)
		if err != nil {
			e.troubled(ctx, "could not write cursors; trying again, and sending nothing more to their instances until then", err)
		}
		return err
	})
}

// saveOften calls save whenever a turn is due, and when soon says so in between, until ctx ends. A turn is due by the clock:
// with soon ready all the time, a timer would never have the first word.
func saveOften(ctx context.Context, soon <-chan struct{}, save func(turn int) error) {
	timer := time.NewTimer(saveEvery)
	defer timer.Stop()
	for next, due := 0, time.Now().Add(saveEvery); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-soon:
		}
		turn, began := noTurn, time.Now()
		if !began.Before(due) {
			turn, next = next, (next+1)%idleEvery
		}
		err := save(turn)
		if turn != noTurn {
			due = time.Now().Add(max(saveEvery-2*time.Since(began), saveLull))
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(saveLull):
			}
		}
		timer.Reset(time.Until(due))
	}
}
