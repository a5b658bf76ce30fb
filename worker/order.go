package worker

import (
	"cmp"
	"slices"
	"time"
)

type slotState uint8

const (
	waiting slotState = iota
	inFlight
	settled
)

// slot is one inbox of a job.
type slot struct {
	state   slotState
	seq     uint64 // of the delivery that is in flight
	failure *failure
}

// failure is what is remembered of an inbox that failed.
type failure struct {
	attempts     int
	unauthorized int
	first, last  time.Time
	// retryAt is the inbox's own back-off.
	retryAt time.Time
	// strict: retryAt holds even while there is no proof that the instance is up.
	strict bool
	// answered and others are the Worker's counters at the last failure: whether the instance answered since, and
	// whether it took another activity since.
	answered, others uint64
}

// entry is a job that is not settled.
type entry struct {
	job   Job
	slots []slot
	one   [1]slot // where slots points for the usual job, which has one inbox
	// low: no slot before it is waiting.
	low                int
	waiting, unsettled int
	// blockers is how many earlier unsettled entries conflict with this one, blocked are the later ones that this one
	// conflicts with.
	blockers int
	blocked  []*entry
	// delivered is how many of its inboxes took it.
	delivered uint64
	// before is when what precedes it was published; zero: not known.
	before time.Time
}

func newEntry(job Job) *entry {
	e := &entry{job: job, waiting: len(job.Inboxes), unsettled: len(job.Inboxes)}
	if len(job.Inboxes) == 1 {
		e.slots = e.one[:]
	} else {
		e.slots = make([]slot, len(job.Inboxes))
	}
	return e
}

func (w *Worker) find(id int64) (int, bool) {
	return slices.BinarySearchFunc(w.jobs, id, func(e *entry, id int64) int { return cmp.Compare(e.job.Activity.ID, id) })
}

// insert puts e in its place. Only a restored entry has later ones, and none of those has started.
func (w *Worker) insert(e *entry) {
	at, _ := w.find(e.job.Activity.ID)
	for _, earlier := range w.jobs[:at] {
		block(earlier, e)
	}
	for _, later := range w.jobs[at:] {
		block(e, later)
	}
	w.jobs = slices.Insert(w.jobs, at, e)
}

func block(earlier, later *entry) {
	if earlier.job.Activity.Footprint.Conflicts(later.job.Activity.Footprint) {
		earlier.blocked = append(earlier.blocked, later)
		later.blockers++
	}
}

// settleSlot ends one inbox of e, and with the last one e.
func (w *Worker) settleSlot(e *entry, s *slot) {
	s.state, s.failure = settled, nil
	e.unsettled--
	if e.unsettled > 0 {
		return
	}
	if e.job.Redelivery {
		w.redeliveries = drop(w.redeliveries, slices.Index(w.redeliveries, e))
		w.redelivered = append(w.redelivered, e.job)
		return
	}
	for _, later := range e.blocked {
		later.blockers--
	}
	id := e.job.Activity.ID
	at, _ := w.find(id)
	w.jobs = drop(w.jobs, at)
	w.ahead = max(w.ahead, id)
	if at == 0 && !e.job.Activity.PublishedAt.IsZero() {
		w.state.PublishedAt = e.job.Activity.PublishedAt
	}
	w.advance()
}

// drop removes an entry, and the memory with the last one: most Workers are idle most of the time.
func drop(entries []*entry, at int) []*entry {
	if len(entries) == 1 {
		return nil
	}
	return slices.Delete(entries, at, at+1)
}

// advance moves the cursor to the end of the settled prefix.
func (w *Worker) advance() {
	if len(w.state.Held) > 0 {
		return
	}
	cursor, publishedAt := w.offered, w.offeredAt
	if len(w.jobs) > 0 {
		cursor, publishedAt = w.jobs[0].job.Activity.ID-1, w.jobs[0].before
	}
	if cursor <= w.state.Cursor {
		return
	}
	w.state.Cursor = cursor
	if !publishedAt.IsZero() {
		w.state.PublishedAt = publishedAt
	}
}
