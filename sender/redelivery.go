package sender

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// redeliver offers dead letters that an operator wants tried again. What the workers have no room for stays wanted.
func (e *engine) redeliver(ctx context.Context, ids []int32) error {
	ids, saves := e.dispatcher.beginRedelivery(ids)
	if len(ids) == 0 {
		return nil
	}
	wanted, err := pg.ReadRedeliveries(ctx, e.pool, ids)
	if err != nil || len(wanted) == 0 {
		return err
	}
	jobs, letters, err := e.redeliveryJobs(ctx, wanted)
	if err != nil {
		return err
	}
	e.dispatcher.offerRedeliveries(wanted, jobs, letters, saves)
	return nil
}

// runRedeliveries looks as often as is saved for what workers have room for by then. No save waits for it: it needs the pool.
func (e *engine) runRedeliveries(ctx context.Context) {
	every(ctx, saveEvery, func() { e.redeliverMore(ctx) })
}

// redeliverMore offers what is still wanted.
func (e *engine) redeliverMore(ctx context.Context) {
	ids := e.dispatcher.takeRedeliveries(clock())
	if err := e.redeliver(ctx, ids); err != nil {
		e.dispatcher.wantRedeliveries(ids)
		e.troubled(ctx, "could not read which dead letters to try again; trying again", err)
	}
}

// redeliveryJobs makes the jobs of those that can be tried; the others become dead letters again.
func (e *engine) redeliveryJobs(ctx context.Context, wanted []pg.Redelivery) (jobs map[pg.Redelivery]worker.Job, letters map[pg.Redelivery]pg.Letter, err error) {
	byActivity := map[int64][]pg.Redelivery{}
	var ids []int64
	for _, r := range wanted {
		byActivity[r.ActivityID] = append(byActivity[r.ActivityID], r)
		ids = append(ids, r.ActivityID)
	}
	jobs, letters = map[pg.Redelivery]worker.Job{}, map[pg.Redelivery]pg.Letter{}
	err = e.eachActivity(ctx, ids, func(row *pg.Activity, activity *worker.Activity, reason string) {
		for _, r := range byActivity[row.ID] {
			inboxes := []worker.Inbox{{URL: r.Inbox}}
			if r.Inbox == "" {
				inboxes = e.inboxes(row, r.InstanceID)
			}
			switch {
			case reason != "":
				letter := letterAgain(r, reason)
				if r.Inbox == "" { // thousands of redeliveries may have been made of one letter: it is one again
					letter.InstanceID, letter.InstanceIDs = 0, []int32{r.InstanceID}
				}
				letters[r] = letter
			case len(inboxes) == 0:
				letters[r] = letterAgain(r, "it was to be sent again, but has no inbox there any more")
			default:
				jobs[r] = worker.Job{Activity: activity, Inboxes: inboxes, Redelivery: true}
			}
		}
	})
	for _, r := range wanted {
		if _, ok := jobs[r]; !ok && letters[r].Reason == "" {
			letters[r] = letterAgain(r, "it was to be sent again, but the activity was deleted before")
		}
	}
	return jobs, letters, err
}

// letterAgain is of a redelivery that can't be tried.
func letterAgain(r pg.Redelivery, reason string) pg.Letter {
	now := clock()
	return pg.Letter{ActivityID: r.ActivityID, InstanceID: r.InstanceID, Inbox: r.Inbox, Reason: reason, FirstAt: now, LastAt: now}
}

// beginRedelivery returns those of the instances that are held and, for offerRedeliveries, the state of the saves.
func (d *dispatcher) beginRedelivery(ids []int32) (held []int32, saves int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil && !s.draining {
			held = append(held, id)
		}
	}
	return held, d.redelivered
}

// offerRedeliveries gives jobs to the workers and has the others' rows replaced by letters in one save. Where a save deleted rows
// since beginRedelivery, some that were read may be settled: they are read again.
func (d *dispatcher) offerRedeliveries(wanted []pg.Redelivery, jobs map[pg.Redelivery]worker.Job, letters map[pg.Redelivery]pg.Letter, saves int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	count := map[int32]int{}
	for _, r := range wanted {
		s := d.slots[r.InstanceID]
		if s == nil || s.draining {
			continue
		}
		count[s.id]++
		job, ok := jobs[r]
		row, known := s.redelivering[r.ActivityID]
		switch {
		case known && row == r:
		case known || saves != d.redelivered || ok && s.worker.RedeliveryRoom(now) == 0:
			d.redeliveries[s.id] = s
		case ok:
			s.worker.Offer(job)
			s.redeliver(r)
			d.look(s, now)
		default:
			s.redeliver(r)
			d.unsaved.Letters = append(d.unsaved.Letters, letters[r])
			d.unsaved.Redelivered = append(d.unsaved.Redelivered, r)
		}
		if count[s.id] == pg.MaxRedeliveries {
			d.redeliveries[s.id] = s
		}
	}
	d.dispatch()
}

// redeliver notes what is to be settled and is in the database until that is saved.
func (s *slot) redeliver(r pg.Redelivery) {
	if s.redelivering == nil {
		s.redelivering = map[int64]pg.Redelivery{}
	}
	s.redelivering[r.ActivityID] = r
}

// wantRedeliveries has redeliverMore look whether the instances have any.
func (d *dispatcher) wantRedeliveries(ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if s := d.slots[id]; s != nil {
			d.redeliveries[id] = s
		}
	}
}

// takeRedeliveries returns the instances that may have more and have room for them.
func (d *dispatcher) takeRedeliveries(now time.Time) (ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, s := range d.redeliveries {
		if s.worker.RedeliveryRoom(now) > 0 {
			delete(d.redeliveries, id)
			ids = append(ids, id)
		}
	}
	return ids
}

// noteRedelivered forgets what was saved.
func (d *dispatcher) noteRedelivered(saved []pg.Redelivery) {
	if len(saved) == 0 {
		return
	}
	d.redelivered++
	for _, r := range saved {
		if s := d.slots[r.InstanceID]; s != nil && s.redelivering[r.ActivityID] == r {
			delete(s.redelivering, r.ActivityID)
		}
	}
}
