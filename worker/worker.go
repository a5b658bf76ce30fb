package worker

import (
	"slices"
	"time"
)

// Limits bound what a Worker keeps. Zero values are the defaults.
type Limits struct {
	// MaxWindow is how many deliveries may be in flight; default 16.
	MaxWindow int
	// MaxPending is how many deliveries that may start are kept beyond the window, so that there is always a next one;
	// default 32.
	MaxPending int
	// MaxUnsettled is how many jobs are kept in all, those that wait for a conflicting one included; default 256. It
	// bounds [State.Held].
	MaxUnsettled int
	// Rules that applications differ in; default [UsualRules].
	Rules *Rules
}

// Rules are what an application and its receivers are used to. They are not changed once a Worker has them.
type Rules struct {
	// UnauthorizedTries is how often a 401 is tried again before it is a refusal.
	UnauthorizedTries int
	// DeadAfterFailures is how many failures in a row make an instance dead that gave no sign of life for 3 days.
	DeadAfterFailures int
}

// UsualRules are those of a source that says nothing else: a receiver has half an hour to fetch a key, and one failure
// after three quiet days does not cost a small instance a whole day.
func UsualRules() *Rules {
	return &Rules{UnauthorizedTries: maxUnauthorized, DeadAfterFailures: silentFails}
}

func (l Limits) orDefault() Limits {
	if l.MaxWindow <= 0 {
		l.MaxWindow = 16
	}
	if l.MaxPending <= 0 {
		l.MaxPending = 32
	}
	if l.MaxUnsettled <= 0 {
		l.MaxUnsettled = 256
	}
	if l.Rules == nil {
		l.Rules = UsualRules()
	}
	return l
}

// While an instance fails, little is kept for it: thousands may fail for days. It must be more than one job, because
// another one tells whether the instance fails or the job.
const (
	slowReady     = 8  // that could be tried
	slowUnsettled = 32 // with those that wait for them
	deadUnsettled = 4
)

// Worker is one instance's delivery. It is not safe for several goroutines: its owner locks. Times given to its
// methods should not go back; if the clock was set back, back-offs start anew.
type Worker struct {
	state   State // AheadID is kept in ahead; Held holds what is not yet restored
	limits  Limits
	window  window
	seed    uint64
	version uint64

	offered   int64
	offeredAt time.Time
	ahead     int64
	jobs      []*entry // not settled, by id

	redeliveries []*entry
	redelivered  []Job
	letters      []Letter

	inFlight int
	// started numbers the deliveries. failed and throttled are its value when the last failure and the last pause were
	// counted: deliveries up to it belong to that round.
	started, failed, throttled uint64
	// answered counts answers that show that the instance is up, delivered counts 2xx.
	answered, delivered uint64

	seenAt      time.Time
	pausedUntil time.Time
	closing     bool
}

// New makes a Worker that goes on from state. seen is the last sign of life that the database knows, the making of the
// instance included; zero: none is known, and silence will not make it dead. seed spreads back-offs: the
// instance's id will do.
func New(state State, limits Limits, seen time.Time, seed uint64) *Worker {
	limits = limits.orDefault()
	w := &Worker{
		state:   state,
		limits:  limits,
		window:  newWindow(limits.MaxWindow, state.FailCount > 0),
		seed:    seed << 16, // a fail count is added to it
		offered: max(state.Cursor, state.AheadID),
		ahead:   state.AheadID,
		seenAt:  seen,
	}
	w.state.GoneAt = slices.Clone(state.GoneAt)
	w.state.Held = heldBetween(state)
	if w.wasDead() && seen.After(state.LastRetryAt) {
		w.revive()
	}
	w.advance()
	return w
}

// Offered is the highest id that was offered or passed.
func (w *Worker) Offered() int64 { return w.offered }

// Offer gives the next activity that is meant for the instance, which also says that those between [Worker.Offered]
// and it are not. An id that is not above Offered is ignored.
// A redelivery may have any id; inboxes that wait for the same redelivery already are left out.
func (w *Worker) Offer(job Job) {
	if job.Redelivery {
		w.offerRedelivery(job)
		return
	}
	a := job.Activity
	if a.ID <= w.offered {
		return
	}
	if len(job.Inboxes) == 0 {
		w.Pass(a.ID, a.PublishedAt)
		return
	}
	e := newEntry(job)
	e.before = w.offeredAt
	w.insert(e)
	w.offered, w.offeredAt = a.ID, a.PublishedAt
	w.advance()
}

func (w *Worker) offerRedelivery(job Job) {
	pending := func(inbox Inbox) bool {
		return slices.ContainsFunc(w.redeliveries, func(e *entry) bool {
			return e.job.Activity.ID == job.Activity.ID && slices.Contains(e.job.Inboxes, inbox)
		})
	}
	job.Inboxes = slices.DeleteFunc(slices.Clone(job.Inboxes), pending)
	if len(job.Inboxes) > 0 {
		w.redeliveries = append(w.redeliveries, newEntry(job))
	}
}

// Pass says that all up to id which were not offered are not meant for the instance. publishedAt is when id was
// published; zero: not known.
func (w *Worker) Pass(id int64, publishedAt time.Time) {
	if id <= w.offered {
		return
	}
	w.offered = id
	if !publishedAt.IsZero() {
		w.offeredAt = publishedAt
	}
	w.advance()
}

// Room is how many more jobs it wants. It is 0 while held ones are not restored, while paused, and when enough is kept;
// it is small while the instance fails.
func (w *Worker) Room(now time.Time) int {
	room, _ := w.room(now)
	return room
}

// Hungry says whether it has room and no more than half of what it keeps beyond the window. Who reads for it alone
// should wait for that, so that a read brings more than what was done since the last one.
func (w *Worker) Hungry(now time.Time) bool {
	room, fresh := w.room(now)
	return room > 0 && fresh <= w.limits.MaxPending/2
}

// room returns with Room how many deliveries are kept that were not tried yet and might be.
func (w *Worker) room(now time.Time) (room, fresh int) {
	if len(w.state.Held) > 0 || now.Before(w.pausedUntil) {
		return 0, 0
	}
	ready := 0
	for _, e := range w.jobs {
		if e.blockers > 0 {
			continue
		}
		ready++
		for i := e.low; i < len(e.slots); i++ {
			if e.slots[i].state == waiting && e.slots[i].failure == nil {
				fresh++
			}
		}
	}
	dead := w.Dead(now)
	if dead || now.Before(w.opensAt(now)) || w.state.FailCount > 0 && w.window.size == 1 {
		most := slowUnsettled
		if dead {
			most = deadUnsettled
		}
		if fresh > 0 || ready >= slowReady || len(w.jobs) >= min(most, w.limits.MaxUnsettled) {
			return 0, fresh
		}
		return 1, fresh
	}
	want := w.window.size + w.limits.MaxPending - w.inFlight - fresh
	return max(0, min(want, w.limits.MaxUnsettled-len(w.jobs))), fresh
}

// RedeliveryRoom is how many more redeliveries it wants.
func (w *Worker) RedeliveryRoom(now time.Time) int {
	if len(w.state.Held) > 0 || now.Before(w.pausedUntil) {
		return 0
	}
	return max(0, w.limits.MaxPending-len(w.redeliveries))
}

// Next is a delivery that may start now, and counts as in flight until it is Done.
func (w *Worker) Next(now time.Time) (Delivery, bool) {
	if len(w.state.Held) > 0 || w.inFlight >= w.Window(now) || now.Before(w.opensAt(now)) {
		return Delivery{}, false
	}
	e, i := w.choose(now)
	if e == nil && !w.closing {
		e, i = w.chooseRedelivery(now)
	}
	if e == nil {
		return Delivery{}, false
	}
	w.started++
	w.inFlight++
	s := &e.slots[i]
	s.state, s.seq = inFlight, w.started
	e.waiting--
	for e.low < len(e.slots) && e.slots[e.low].state != waiting {
		e.low++
	}
	d := Delivery{
		Activity: e.job.Activity, Inbox: e.job.Inboxes[i], Redelivery: e.job.Redelivery,
		Attempt: 1, entry: e, index: i, seq: w.started,
	}
	if s.failure != nil {
		d.Attempt += s.failure.attempts + s.failure.unauthorized
	}
	return d, true
}

// choose takes the first that may start. While the instance fails it takes the one whose last failure is the longest
// ago, so that one bad job does not use up every try.
func (w *Worker) choose(now time.Time) (best *entry, index int) {
	var bestLast time.Time
	jobs := w.jobs
	if w.closing {
		jobs = jobs[:w.begun()]
	}
	for _, e := range jobs {
		if e.blockers > 0 || e.waiting == 0 {
			continue
		}
		for i := e.low; i < len(e.slots); i++ {
			s := &e.slots[i]
			if s.state != waiting || now.Before(w.dueAt(s)) {
				continue
			}
			if s.failure == nil || w.state.FailCount == 0 {
				return e, i
			}
			if best == nil || s.failure.last.Before(bestLast) {
				best, index, bestLast = e, i, s.failure.last
			}
		}
	}
	return best, index
}

func (w *Worker) chooseRedelivery(now time.Time) (*entry, int) {
	for _, e := range w.redeliveries {
		for i := e.low; i < len(e.slots); i++ {
			if e.slots[i].state == waiting && !now.Before(w.dueAt(&e.slots[i])) {
				return e, i
			}
		}
	}
	return nil, 0
}

// dueAt is when the inbox may be tried again; zero: at once. Without an answer since it failed nothing says that the
// failure was its own, and the back-off of the instance is enough.
func (w *Worker) dueAt(s *slot) time.Time {
	f := s.failure
	if f == nil || !f.strict && f.answered == w.answered {
		return time.Time{}
	}
	return f.retryAt
}

// NextAt is when [Worker.Next] may give something, or a pause ends and there is room again, although nothing else
// happens: now or later. Zero: only after another call. The owner sets one timer from it.
func (w *Worker) NextAt(now time.Time) time.Time {
	if len(w.state.Held) > 0 || w.inFlight >= w.Window(now) {
		return time.Time{}
	}
	first, found := time.Time{}, false
	earlier := func(e *entry) {
		for i := e.low; i < len(e.slots) && e.waiting > 0 && e.blockers == 0; i++ {
			if e.slots[i].state != waiting {
				continue
			}
			if at := w.dueAt(&e.slots[i]); !found || at.Before(first) {
				first, found = at, true
			}
		}
	}
	for _, e := range w.jobs {
		earlier(e)
	}
	for _, e := range w.redeliveries {
		earlier(e)
	}
	switch {
	case found:
		return latest(now, first, w.opensAt(now))
	case now.Before(w.pausedUntil):
		return w.pausedUntil
	}
	return time.Time{}
}

// opensAt is when the instance as a whole may be sent to; zero or past: now.
func (w *Worker) opensAt(now time.Time) time.Time {
	w.noticeClock(now)
	at := latest(w.pausedUntil, w.state.NotBefore)
	switch last := w.state.LastRetryAt; {
	case last.IsZero():
	case w.Dead(now):
		at = latest(at, last.Add(probeEvery))
	case w.state.FailCount > 0:
		at = latest(at, last.Add(backoff(w.state.FailCount, w.seed)))
	}
	return at
}

// noticeClock makes up for a clock that was set back: nothing is waited for longer than its longest pause.
func (w *Worker) noticeClock(now time.Time) {
	if w.state.LastRetryAt.After(now) {
		w.state.LastRetryAt = now
	}
	if end := now.Add(longestPause); w.state.NotBefore.After(end) {
		w.state.NotBefore = end
	}
}

// Window is how many deliveries may be in flight.
func (w *Worker) Window(now time.Time) int {
	if w.Dead(now) {
		return 1
	}
	return w.window.size
}

func latest(first time.Time, more ...time.Time) time.Time {
	for _, t := range more {
		if t.After(first) {
			first = t
		}
	}
	return first
}
