package sender

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

// maxFindings bounds how many targets wait for the bodies of their activities.
const maxFindings = 50_000

// head reads every activity once, in order, and offers it to the workers of the instances that it is for.
type head struct {
	engine *engine
	feed   *pg.Feed

	active  time.Time // when the last activity was read
	settled bool      // the bell is armed and nobody is left who does not know
	until   time.Time // settleFor ends
	armed   bool
	slept   bool      // since the bell was armed
	second  time.Time // of the count
	count   int
	before  int       // the count of the second before it
	wanted  time.Time // when something was for an instance that is held
	disarms time.Time
	recent  memory // of what was read last

	reading  *reading  // the last one, for traces; nil where those are off
	mendedAt time.Time // end of the last load because the application's tables had changed
}

// run reads until ctx ends.
func (h *head) run(ctx context.Context) {
	defer h.engine.abandonRefresh()
	timer := time.NewTimer(0)
	defer timer.Stop()
	rung := false
	for {
		select {
		case <-ctx.Done():
			return
		case done := <-h.engine.rewinds:
			if err := h.rewind(ctx); err != nil {
				return // ctx has ended
			}
			close(done)
		case <-h.engine.news:
			rung = true
		case <-timer.C:
		}
		if h.engine.adrift.Load() {
			rung = false
			continue // until there is a lease session and it has this rewind
		}
		wait, err := h.round(ctx, rung)
		rung = false
		if err != nil {
			h.engine.troubled(ctx, "could not read activities; trying again", err)
			wait = time.Second
		}
		timer.Reset(wait)
	}
}

// round reads once and returns how long to wait before the next time.
func (h *head) round(ctx context.Context, rung bool) (time.Duration, error) {
	if rung {
		// Another process may have disarmed the bell, and whoever rang may write more: look for a while.
		h.unsettle()
	}
	if wait, err := h.mendDrift(ctx); wait > 0 || err != nil {
		return wait, err
	}
	if h.engine.dispatcher.overfull() {
		return saveEvery, nil
	}
	if err := h.engine.refresh(ctx); err != nil {
		return 0, err // ctx has ended
	}
	h.reading = h.engine.tracing.reading()
	batch, err := h.feed.Read(ctx)
	h.reading.end()
	if err != nil {
		return 0, err
	}
	h.engine.read(clock())
	h.engine.gap.Store(int64(h.feed.Stopped()))
	if batch.Changes.Any() {
		if err := h.engine.apply(ctx, h.feed, &batch.Changes); err != nil {
			return 0, err // ctx has ended
		}
	}
	h.engine.changesApplied.Store(&batch.Changes.Snapshot)
	if err := h.offer(h.reading.within(ctx), &batch); err != nil {
		return 0, err // ctx has ended
	}
	h.recent.add(batch.Activities)
	return h.pace(ctx, &batch, rung)
}

// rewind goes back to what the database says was dealt with, after a lease session was lost: the database may not be
// the one that it was.
func (h *head) rewind(ctx context.Context) error {
	e := h.engine
	e.abandonRefresh() // what it reads may be lost
	e.changesApplied.Store(nil)
	return e.insist(ctx, "could not read the horizon; trying again", func(ctx context.Context) error {
		head, horizon, err := h.feed.Rewind(ctx)
		if err != nil {
			return err
		}
		lost, err := h.recent.lost(ctx, e.pool)
		if err != nil {
			return err
		}
		before := e.dispatcher.rewind(head)
		if before > head {
			e.log.Debug("reading again what may have been lost with the session", "from", head, "to", before)
		}
		e.noteLoss(lost, horizon)
		e.adrift.Store(false)
		e.documents.InvalidateAll()
		e.rewound.Add(1)
		h.unsettle()
		return nil
	})
}

// offer decides whom the activities are for, reads the bodies of those that are for somebody here, and offers them. It
// goes on trying until the database has answered: the feed does not give them again.
func (h *head) offer(ctx context.Context, batch *pg.Batch) error {
	e := h.engine
	e.dispatcher.setReading(batch.Through)
	var wanted []finding
	count := 0
	for i := range batch.Activities {
		row := &batch.Activities[i]
		began := e.tracing.now()
		found, err := e.find(ctx, row)
		if err != nil {
			return err
		}
		h.reading.found(row.ID, len(found), began)
		if len(found) > 0 {
			h.wanted = clock()
			wanted = append(wanted, finding{row, found})
			count += len(found)
		}
		if len(wanted) == bodiesAtOnce || count > maxFindings || i == len(batch.Activities)-1 {
			if err := e.offer(ctx, wanted); err != nil {
				return err
			}
			wanted, count = wanted[:0], 0
		}
	}
	e.dispatcher.advance(batch.Through, batch.PublishedAt)
	return nil
}

// finding is an activity with the instances that are held here and should have it.
type finding struct {
	row   *pg.Activity
	found []target
}

// find says which of the instances that are held one activity is for, and makes those that it brings into being. It is
// called for each activity once, in order.
func (e *engine) find(ctx context.Context, a *pg.Activity) ([]target, error) {
	found, unknown, bad := e.targetsAtHead(query(a))
	if len(unknown) > 0 {
		refused, err := e.adopt(ctx, a.ID, unknown)
		if err != nil {
			return nil, err
		}
		bad = append(bad, refused...)
	}
	for _, b := range bad {
		e.dispatcher.addLetter(a.ID, b.Inbox, b.Reason)
	}
	return found, nil
}

// offer gives activities to the workers that they are for, in order. One that was deleted meanwhile is for nobody.
func (e *engine) offer(ctx context.Context, wanted []finding) error {
	if len(wanted) == 0 {
		return nil
	}
	ids := make([]int64, len(wanted))
	for i, w := range wanted {
		ids[i] = w.row.ID
	}
	prepared, reasons := make(map[int64]*worker.Activity, len(wanted)), map[int64]string{}
	xids := make(map[int64]uint64, len(wanted))
	err := e.insist(ctx, "could not read the bodies of activities; trying again", func(ctx context.Context) error {
		return e.eachActivity(ctx, ids, func(row *pg.Activity, activity *worker.Activity, reason string) {
			prepared[row.ID], reasons[row.ID], xids[row.ID] = activity, reason, row.XID
		})
	})
	if err != nil {
		return err
	}
	for _, w := range wanted {
		w.row.XID = xids[w.row.ID]
		if activity := prepared[w.row.ID]; activity != nil {
			e.dispatcher.offer(activity, w.row, w.found)
		} else if reason := reasons[w.row.ID]; reason != "" {
			e.dispatcher.refuse(w.row, w.found, reason)
		}
	}
	return nil
}

// target is an instance that is held, with the inboxes of one activity there.
type target struct {
	id      int32
	inboxes []worker.Inbox
}

// targetsAtHead asks for the instances that are held and not behind.
func (e *engine) targetsAtHead(query targets.Query) (found []target, unknown []targets.Unknown, bad []targets.Bad) {
	d := e.dispatcher
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	want := func(id int32) bool { return d.wants(id, now) }
	unknown, bad = e.index.Targets(query, want, func(id int32, inboxes []targets.Inbox) {
		found = append(found, target{id, inboxes})
	})
	if d.turns.wakes(now) {
		e.wakeKeeper()
	}
	return found, unknown, bad
}

// setReading says up to where the head is about to offer: who joins meanwhile and stands before it is behind.
func (d *dispatcher) setReading(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = id
}

// rewind sets the head back, while nothing is held, and returns where it was.
func (d *dispatcher) rewind(id int64) (before int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before = d.head
	d.head, d.reading = id, id
	return before
}

// advance moves the head after everything up to id has been offered.
func (d *dispatcher) advance(id int64, publishedAt time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.head = max(d.head, id)
	if !publishedAt.IsZero() {
		d.headAt = publishedAt
	}
	if len(d.hungry) > 0 {
		d.ring()
	}
}

// due returns the inboxes that are to get an activity, none where the instance was given up while the body was read.
func (d *dispatcher) due(row *pg.Activity, t target, now time.Time) (s *slot, inboxes []worker.Inbox) {
	s = d.slots[t.id]
	if !d.wants(t.id, now) || row.ID <= s.worker.Offered() {
		return s, nil
	}
	return s, s.wanted(row, t.inboxes)
}

// offer gives a prepared activity to the workers of its targets. Who has no room is behind from here on.
func (d *dispatcher) offer(activity *worker.Activity, row *pg.Activity, found []target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, t := range found {
		s, inboxes := d.due(row, t, now)
		if len(inboxes) == 0 {
			continue
		}
		if s.worker.Room(now) <= 0 {
			s.worker.Pass(row.ID-1, d.headAt)
			d.fallBehind(s)
		} else {
			s.worker.Offer(worker.Job{Activity: activity, Inboxes: inboxes})
			d.arrived += int64(len(inboxes))
			if len(found) <= few {
				s.hurry()
			}
		}
		d.look(s, now)
	}
	d.head, d.headAt = row.ID, row.PublishedAt
	d.dispatch()
}
