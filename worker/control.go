package worker

import "time"

// Word is the state of an instance in one word.
type Word string

const (
	WordOK        Word = "ok"
	WordRestoring Word = "restoring" // held activities are not read again yet
	WordFailing   Word = "failing"
	WordThrottled Word = "throttled" // it asked for a pause
	WordPaused    Word = "paused"
	WordDead      Word = "dead"
)

// Status says why an instance waits.
type Status struct {
	Word      Word
	FailCount int
	// Window is how many deliveries may be in flight.
	Window, InFlight int
	// Pending is how many jobs are not settled, Blocked how many of them wait for a conflicting one.
	Pending, Blocked int
	Redeliveries     int
	// NextTry is when the instance may be sent to; zero: now.
	NextTry time.Time
	// SeenAt is the last sign of life; zero: none is known.
	SeenAt    time.Time
	LastError string
}

// Status is for people and metrics.
func (w *Worker) Status(now time.Time) Status {
	s := Status{
		FailCount:    w.state.FailCount,
		Window:       w.Window(now),
		InFlight:     w.inFlight,
		Pending:      len(w.jobs) + len(w.state.Held),
		Redeliveries: len(w.redeliveries),
		SeenAt:       latest(w.seenAt, w.state.LastSuccessAt),
		LastError:    w.state.LastError,
	}
	for _, e := range w.jobs {
		if e.blockers > 0 {
			s.Blocked++
		}
	}
	if at := w.opensAt(now); at.After(now) {
		s.NextTry = at
	}
	s.Word = w.Word(now)
	return s
}

// Word is that of [Worker.Status], without the cost of the rest.
func (w *Worker) Word(now time.Time) Word {
	switch {
	case now.Before(w.pausedUntil):
		return WordPaused
	case w.Dead(now):
		return WordDead
	case now.Before(w.state.NotBefore):
		return WordThrottled
	case w.state.FailCount > 0 && !w.state.LastSuccessAt.After(w.state.LastRetryAt):
		return WordFailing
	case len(w.state.Held) > 0:
		return WordRestoring
	}
	return WordOK
}

// Waits says whether the instance has failed, or asked for a pause, and may not be sent to yet. A pause by the operator is
// none of these.
func (w *Worker) Waits(now time.Time) bool {
	return !now.Before(w.pausedUntil) && now.Before(w.opensAt(now))
}

// Failures is how often the instance failed in a row.
func (w *Worker) Failures() int { return w.state.FailCount }

// Dead says whether the instance is given up but for one probe a day: its shared inbox is gone, or there was no sign of
// life for 3 days while its tries failed, as often as the rules say.
func (w *Worker) Dead(now time.Time) bool {
	if w.state.Gone {
		return true
	}
	seen := latest(w.seenAt, w.state.LastSuccessAt)
	return w.state.FailCount >= w.limits.Rules.DeadAfterFailures && !seen.IsZero() && now.Sub(seen) > silence
}

// Seen tells of a sign of life at some time, such as instance.last_seen_at. One that is younger than 3 days and than the
// last failed try revives a dead instance: its back-off is forgotten.
func (w *Worker) Seen(now, at time.Time) {
	if at.After(now) {
		at = now
	}
	if !at.After(w.seenAt) {
		return
	}
	revives := w.Dead(now) && at.After(w.state.LastRetryAt) && now.Sub(at) < silence
	w.seenAt = at
	if revives {
		w.revive()
	}
}

// wasDead says whether the instance was dead when it was last tried. Where no try is known (the operator wants one at
// once), the probe tells.
func (w *Worker) wasDead() bool {
	last := w.state.LastRetryAt
	silent := w.state.FailCount >= max(1, w.limits.Rules.DeadAfterFailures) && last.Sub(w.state.LastSuccessAt) > silence
	return !last.IsZero() && (w.state.Gone || silent)
}

// revive forgets that the instance was dead. The window is one, so that a host that comes back is not flooded.
func (w *Worker) revive() {
	w.state.Gone, w.state.GoneAt = false, nil
	w.state.FailCount, w.state.LastRetryAt = 0, time.Time{}
	w.window.close()
	w.version++
}

// PauseUntil stops what is not in flight until then: the cursor stands still. The zero time ends a pause.
func (w *Worker) PauseUntil(t time.Time) { w.pausedUntil = t }

// RetryNow forgets what was to be waited for, of the instance and of single jobs. The fail count stays, so that another
// failure waits as long as the next one would have.
func (w *Worker) RetryNow() {
	w.state.LastRetryAt, w.state.NotBefore, w.state.Throttles = time.Time{}, time.Time{}, 0
	for _, entries := range [][]*entry{w.jobs, w.redeliveries} {
		for _, e := range entries {
			for i := range e.slots {
				if f := e.slots[i].failure; f != nil {
					f.retryAt = time.Time{}
				}
			}
		}
	}
	w.version++
}

// SetMaxWindow bounds the deliveries in flight from the next start on; 0: the limit that New was given.
func (w *Worker) SetMaxWindow(n int) {
	if n <= 0 {
		n = w.limits.MaxWindow
	}
	w.window.limit(n)
}

// InFlight is how many deliveries are not Done.
func (w *Worker) InFlight() int { return w.inFlight }

// Waiting is how many deliveries were offered and have not begun, redeliveries apart.
func (w *Worker) Waiting() int {
	count := 0
	for _, e := range w.jobs {
		count += e.waiting
	}
	return count
}

// Idle says that nothing is pending, in flight, to be restored or to be taken, so that a Worker made from [Worker.State] would
// know all that this one does but the size of its window.
func (w *Worker) Idle() bool {
	return w.inFlight == 0 && len(w.jobs) == 0 && len(w.state.Held) == 0 && len(w.redeliveries) == 0 &&
		len(w.letters) == 0 && len(w.redelivered) == 0
}

// Cursor is that of [Worker.State], without the cost of making one.
func (w *Worker) Cursor() int64 { return w.state.Cursor }

// PublishedAt is that of [Worker.State], without the cost of making one.
func (w *Worker) PublishedAt() time.Time { return w.state.PublishedAt }

// Version changes when State has news that should be saved soon. A cursor that moves only because nothing was meant for
// the instance is no such news: compare Cursor.
func (w *Worker) Version() uint64 { return w.version }

// Close has it start only what fills gaps: inboxes that are left of an activity which others have got, and activities before
// such a one. When nothing is in flight and nothing may start, the cursor is behind all that was delivered, but for what
// failed: who knows the cursor alone sends nothing again. There is no way back.
func (w *Worker) Close() { w.closing = true }

// begun is how many jobs, from the first, there are up to the last one of which something was sent, or which something
// later was settled before.
func (w *Worker) begun() int {
	for i := len(w.jobs); i > 0; i-- {
		e := w.jobs[i-1]
		if e.waiting < len(e.slots) || e.job.Activity.ID < w.ahead {
			return i
		}
	}
	return 0
}
