package worker

import (
	"cmp"
	"slices"
	"time"
)

// State is what is saved of a Worker, and all that another process needs to go on.
type State struct {
	// Cursor: every activity up to this id is settled.
	Cursor int64
	// PublishedAt is when the last settled activity up to the cursor was published; zero: not known.
	PublishedAt time.Time
	FailCount   int
	// LastRetryAt is when the last failure was counted; zero: none, or the operator wants a try at once.
	LastRetryAt time.Time
	// NotBefore is the end of the pause that the instance asked for.
	NotBefore time.Time
	// Throttles is how often in a row it asked for a pause, with no success since.
	Throttles int
	// GoneAt is when its shared inbox said that it is gone, in the 24 h before the last of them.
	GoneAt []time.Time
	Gone   bool

	LastSuccessAt  time.Time
	LastError      string
	LastHTTPStatus int
	LastErrorAt    time.Time

	// AheadID: every activity up to this id is settled but those in Held; 0: there is nothing to know beyond Cursor.
	AheadID int64
	// Held is ordered by id.
	Held []Held
}

// Held is an activity up to AheadID that is not settled.
type Held struct {
	ID int64 `json:"id"`
	// Attempts is the highest of its inboxes.
	Attempts int `json:"attempts,omitempty"`
	// FirstFailed is the earliest of its inboxes.
	FirstFailed time.Time `json:"first_failed,omitzero"`
	// Done are the inboxes that are settled.
	Done []string `json:"done,omitempty"`
	// Tries tells of each inbox that failed.
	Tries []Try `json:"tries,omitempty"`
}

// Try is what is known of an inbox that failed.
type Try struct {
	Inbox string `json:"inbox"`
	// Attempts are the failures that counted.
	Attempts    int       `json:"attempts,omitempty"`
	FirstFailed time.Time `json:"first_failed,omitzero"`
	// Unauthorized is how often it said 401.
	Unauthorized int `json:"unauthorized,omitempty"`
}

// heldBetween are the held activities of state, in order, each once. What is not between the cursor and AheadID (an
// operator moved the cursor) is settled or comes again.
func heldBetween(state State) []Held {
	held := slices.Clone(state.Held)
	held = slices.DeleteFunc(held, func(h Held) bool { return h.ID <= state.Cursor || h.ID > state.AheadID })
	slices.SortFunc(held, func(a, b Held) int { return cmp.Compare(a.ID, b.ID) })
	held = slices.CompactFunc(held, func(a, b Held) bool { return a.ID == b.ID })
	if len(held) == 0 {
		return nil
	}
	return held
}

// HeldIDs are the held activities that the owner must still read again and give to [Worker.Restore] or
// [Worker.RestoreGone]. Nothing starts before that: any of them may conflict with what follows.
func (w *Worker) HeldIDs() []int64 {
	if len(w.state.Held) == 0 {
		return nil
	}
	ids := make([]int64, len(w.state.Held))
	for i, h := range w.state.Held {
		ids[i] = h.ID
	}
	return ids
}

// Restore gives back a held activity. Inboxes that are settled are left out; one that is not held is ignored.
func (w *Worker) Restore(job Job) {
	held, ok := w.takeHeld(job.Activity.ID)
	if !ok {
		return
	}
	job.Redelivery = false
	e := newEntry(job)
	for i, inbox := range job.Inboxes {
		s := &e.slots[i]
		if slices.Contains(held.Done, inbox.URL) {
			s.state = settled
			e.waiting--
			e.unsettled--
			continue
		}
		for _, t := range held.Tries {
			if t.Inbox == inbox.URL {
				s.failure = &failure{attempts: t.Attempts, unauthorized: t.Unauthorized, first: t.FirstFailed}
			}
		}
	}
	if e.unsettled > 0 {
		w.insert(e)
	}
	w.advance()
}

// RestoreGone says that a held activity is no more, or is not meant for the instance any more: it is settled.
func (w *Worker) RestoreGone(id int64) {
	if _, ok := w.takeHeld(id); ok {
		w.version++
		w.advance()
	}
}

func (w *Worker) takeHeld(id int64) (Held, bool) {
	i, ok := slices.BinarySearchFunc(w.state.Held, id, func(h Held, id int64) int { return cmp.Compare(h.ID, id) })
	if !ok {
		return Held{}, false
	}
	held := w.state.Held[i]
	w.state.Held = slices.Delete(w.state.Held, i, i+1)
	if len(w.state.Held) == 0 {
		w.state.Held = nil
	}
	return held, true
}

// State is what to save. After a crash, a Worker made from it repeats only what was in flight then or was settled
// later than this call; conflicting activities keep their order.
func (w *Worker) State() State {
	s := w.state
	s.GoneAt = slices.Clone(s.GoneAt)
	s.AheadID = w.ahead
	for _, e := range w.jobs {
		if e.unsettled < len(e.slots) {
			s.AheadID = max(s.AheadID, e.job.Activity.ID)
		}
	}
	if s.AheadID <= s.Cursor {
		s.AheadID = 0
	}
	s.Held = slices.Clone(w.state.Held)
	for _, e := range w.jobs {
		if e.job.Activity.ID <= s.AheadID {
			s.Held = append(s.Held, e.held())
		}
	}
	slices.SortFunc(s.Held, func(a, b Held) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (e *entry) held() Held {
	h := Held{ID: e.job.Activity.ID}
	for i := range e.slots {
		s, inbox := &e.slots[i], e.job.Inboxes[i].URL
		if s.state == settled {
			h.Done = append(h.Done, inbox)
			continue
		}
		f := s.failure
		if f == nil {
			continue
		}
		h.Tries = append(h.Tries, Try{Inbox: inbox, Attempts: f.attempts, FirstFailed: f.first, Unauthorized: f.unauthorized})
		h.Attempts = max(h.Attempts, f.attempts)
		if !f.first.IsZero() && (h.FirstFailed.IsZero() || f.first.Before(h.FirstFailed)) {
			h.FirstFailed = f.first
		}
	}
	return h
}
