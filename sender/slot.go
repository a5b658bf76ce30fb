package sender

import (
	"context"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// slot is an instance that this process holds, with its worker. It is guarded by dispatcher.mu.
type slot struct {
	id     int32
	worker *worker.Worker
	start  *pg.Start

	// behind: it gets its activities from the catch-up. Otherwise its position is the head, by rule and not by visit.
	behind   bool
	hungry   bool // on the catch-up's list, or taken from it and not served
	queued   bool // in the ready queue
	soon     bool // in the queue of those with something for few
	hurried  int  // so many of its deliveries, the next ones, are up to one of an activity for few
	heldUp   bool // something for few waits until the outcomes before it are saved
	refused  bool // the database did not take its cursor in the last save
	draining bool // nothing starts any more, but for gaps
	closing  bool // gaps that were left behind are filled; only while draining
	dropped  bool // no longer ours; what comes back is ignored

	wasBehind bool // when draining began
	missed    bool // the head has read something for it since

	pausedUntil time.Time // by an operator
	blocked     bool

	wakeAt time.Time // in the timers, unless zero
	timer  int       // its place there

	inFlight int
	cutOff   bool // a delivery that was in flight ended with the leases, and may have arrived
	meter    meter
	density  density
	ctx      context.Context // of the deliveries in flight
	cancel   context.CancelFunc
	handover *handover // is told when nothing is in flight any more

	redelivering map[int64]pg.Redelivery // by activity: what the worker was offered, or can not be, and is still in the database

	savedCursor  int64     // as the database has it
	savedVersion uint64    // of the worker's state
	unsavedSince time.Time // an outcome that the database does not have is not older; zero: it has all
	saving       bool      // a save that is under way writes its cursor
}

// late says that an outcome is unsaved for so long that only what is for few may still start, and not for long.
func (s *slot) late() bool {
	return !sendsUnsaved && !s.unsavedSince.IsZero() && time.Since(s.unsavedSince) >= saveEvery
}

// owed bounds what would be sent again if the process died: what is in flight, and what ended and is not saved.
func (s *slot) owed() int { return s.inFlight + int(s.worker.Version()-s.savedVersion) }

// mustBeSaved says that nothing may start before the slot is saved. If the process dies, no more is sent again than the window
// and what ended within one second. An end leaves what is owed as it is and a save lowers it, so it is enough that each
// start keeps to it:
//   - While the slot is not late, all that ended and is unsaved did so within the last second, and no more is in flight than
//     the window.
//   - While it is late, a start leaves less than the window owed before it: not more than the window with it, whenever the
//     rest ended.
//
// The second is only for what is for few, and ends with hurryUnsaved. Without a save at most a window of deliveries starts so.
func (s *slot) mustBeSaved(now time.Time) bool {
	return s.late() && (s.hurried == 0 || time.Since(s.unsavedSince) >= hurryUnsaved || s.owed() >= s.worker.Window(now))
}

// wanted leaves out what was committed before the instance came to be: it gets of that only what names its inbox.
func (s *slot) wanted(row *pg.Activity, inboxes []worker.Inbox) []worker.Inbox {
	if !s.start.Older(row) {
		return inboxes
	}
	var named []worker.Inbox
	for _, inbox := range inboxes {
		for _, url := range row.Inboxes {
			if url == inbox.URL {
				named = append(named, inbox)
				break
			}
		}
	}
	return named
}

// endless is the end of a block: the lists tell when it is over.
var endless = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// until is when the slot may send again, by the operator and the lists.
func (s *slot) until() time.Time {
	if s.blocked {
		return endless
	}
	return s.pausedUntil
}

func (s *slot) stopped(now time.Time) bool { return s.until().After(now) }

// control takes over what the operator wants of the instance.
func (s *slot) control(state *pg.QueueState, window int) {
	if state.MaxInFlight > 0 {
		window = state.MaxInFlight
	}
	s.pausedUntil = state.PausedUntil
	s.worker.SetMaxWindow(window)
	s.worker.PauseUntil(s.until())
}

// timers is a heap of slots by wakeAt.
type timers []*slot

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].wakeAt.Before(t[j].wakeAt) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}
func (t *timers) Push(x any) {
	s := x.(*slot)
	s.timer = len(*t)
	*t = append(*t, s)
}
func (t *timers) Pop() any {
	old := *t
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	return s
}

// queue is a first-in-first-out of slots that has no bound but the number of slots.
type queue struct {
	list []*slot
	from int
}

func (q *queue) empty() bool { return q.from == len(q.list) }

func (q *queue) push(s *slot) { q.list = append(q.list, s) }

// putBack makes who was popped the next again.
func (q *queue) putBack(s *slot) {
	if q.from == 0 {
		q.list = slices.Insert(q.list, 0, s)
		return
	}
	q.from--
	q.list[q.from] = s
}

func (q *queue) pop() *slot {
	if q.empty() {
		return nil
	}
	s := q.list[q.from]
	q.list[q.from] = nil
	q.from++
	if q.from == len(q.list) {
		q.list, q.from = q.list[:0], 0
	} else if q.from > 1024 && q.from > len(q.list)/2 {
		q.list, q.from = append(q.list[:0], q.list[q.from:]...), 0
	}
	return s
}
