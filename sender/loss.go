package sender

import (
	"context"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// remembered is how many activities are looked for again after a lease session was lost. A standby that lags by more than
// that has lost these too.
const remembered = 1000

// memory is which activities were read last. An id alone tells little: one that was lost is drawn again.
type memory struct {
	seen []pg.Seen // a ring once it is full
	next int
}

func (m *memory) add(activities []pg.Activity) {
	for i := range activities {
		seen := pg.Seen{ID: activities[i].ID, PublishedAt: activities[i].PublishedAt}
		if len(m.seen) < remembered {
			m.seen = append(m.seen, seen)
			continue
		}
		m.seen[m.next] = seen
		m.next = (m.next + 1) % remembered
	}
}

// lost returns how many of them the database does not have any more, and forgets all.
func (m *memory) lost(ctx context.Context, q pg.Querier) (int, error) {
	n, err := pg.CountMissing(ctx, q, m.seen)
	if err == nil {
		*m = memory{}
	}
	return n, err
}

// noteLoss says that the database is not as it was when the lease session was lost.
func (e *engine) noteLoss(lost int, horizon int64) {
	e.saveMu.Lock()
	before := e.published
	e.published = min(e.published, horizon)
	e.saveMu.Unlock()
	if lost == 0 && horizon >= before {
		return
	}
	e.metrics.DatabaseWentBack()
	e.log.Warn("the database has lost commits (a fail-over to a standby that lagged, a crash, a restore); activities that are gone are sent no further",
		"activities_lost", lost, "of_the_last", remembered, "horizon", horizon, "horizon_before", max(before, horizon))
}

// setback is an instance whose cursor is behind where this process had saved it.
type setback struct {
	id       int32
	from, to int64
}

// noteCursor compares the cursor that the database has with the one that this process had saved, and remembers it. d.mu is
// held.
func (d *dispatcher) noteCursor(s *slot, trusted bool) {
	if before, known := d.cursors[s.id]; known && !trusted && s.savedCursor < before {
		d.setbacks = append(d.setbacks, setback{s.id, before, s.savedCursor})
	}
	d.cursors[s.id] = s.savedCursor
}

// forgetCursors is told that somebody else set the cursors of instances.
func (d *dispatcher) forgetCursors(ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		delete(d.cursors, id)
		d.spoil(id)
	}
}

func (d *dispatcher) takeSetbacks() []setback {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.setbacks
	d.setbacks = nil
	return list
}

// noteSetbacks says which cursors went back other than by an operator, who is told from the database by the log of changes.
func (e *engine) noteSetbacks(ctx context.Context) {
	list := e.dispatcher.takeSetbacks()
	if len(list) == 0 {
		return
	}
	ids := make([]int32, len(list))
	for i, b := range list {
		ids[i] = b.id
	}
	// Those of before the loss were told while there was a session, give or take a read of the feed.
	moved, err := pg.CursorsMovedSince(ctx, e.pool, ids, time.Since(e.lostAt())+idlePoll)
	if err != nil {
		e.troubled(ctx, "could not read who moved cursors", err)
	}
	list = slices.DeleteFunc(list, func(b setback) bool { return slices.Contains(moved, b.id) })
	if len(moved) > 0 {
		e.log.Info("the cursors of instances were set back by an operator; what they covered is sent again", "instances", e.domains(moved, 5), "count", len(moved))
	}
	if len(list) == 0 {
		return
	}
	farthest := slices.MaxFunc(list, func(a, b setback) int { return int((a.from - a.to) - (b.from - b.to)) })
	ids = ids[:0]
	for _, b := range list {
		ids = append(ids, b.id)
	}
	e.metrics.CursorsWentBack(len(list))
	e.log.Warn("the cursors of instances went back: the database has lost what was saved (a fail-over to a standby that lagged, a crash, a restore); what they covered is sent again",
		"instances", e.domains(ids, 5), "count", len(list), "farthest", e.domains([]int32{farthest.id}, 1),
		"ids", farthest.from-farthest.to, "from", farthest.from, "to", farthest.to)
}

// lostAt is when the last lease session was lost.
func (e *engine) lostAt() time.Time { return time.Unix(0, e.lost.Load()) }
