package worker

import (
	"slices"
	"time"
)

// Done says how a delivery ended. A delivery that is not in flight is ignored.
func (w *Worker) Done(now time.Time, d Delivery, o Outcome) {
	if d.entry == nil {
		return
	}
	s := &d.entry.slots[d.index]
	if s.state != inFlight || s.seq != d.seq {
		return
	}
	w.noticeClock(now)
	w.inFlight--
	d.entry.wait(d.index)
	if o.Class == Canceled {
		return
	}
	w.version++
	if o.Class != Delivered {
		w.state.LastError, w.state.LastHTTPStatus, w.state.LastErrorAt = o.Reason, o.Status, now
	}
	switch o.Class {
	case Delivered:
		w.delivery(now)
		d.entry.delivered++
		w.settle(d)
	case Refused:
		w.refused(now, d, o)
	case Unauthorized:
		w.unauthorized(now, d, o)
	case Throttled:
		w.throttle(now, d, o)
	case Gone:
		if !d.Inbox.Shared {
			w.refused(now, d, o)
			return
		}
		w.gone(now, d)
		w.fail(now, d, o)
	case Unusable:
		w.giveUp(now, d, o, 0)
	default:
		w.fail(now, d, o)
	}
}

// wait makes the inbox one that is to be tried.
func (e *entry) wait(index int) {
	e.slots[index].state = waiting
	e.waiting++
	e.low = min(e.low, index)
}

func (w *Worker) settle(d Delivery) {
	d.entry.waiting--
	w.settleSlot(d.entry, &d.entry.slots[d.index])
}

// delivery notes a 2xx: it revives the instance whatever was thought of it.
func (w *Worker) delivery(now time.Time) {
	if w.Dead(now) {
		w.revive()
	}
	w.state.LastSuccessAt = now
	w.state.Throttles = 0
	w.state.Gone, w.state.GoneAt = false, nil
	w.delivered++
	w.alive(now)
	w.window.success()
}

// alive notes an answer that shows that the instance is up. It does not prove that the instance is not gone: a parked
// domain refuses too.
func (w *Worker) alive(now time.Time) {
	w.answered++
	w.seenAt = latest(w.seenAt, now)
	w.state.FailCount = max(0, w.state.FailCount-1)
}

func (w *Worker) refused(now time.Time, d Delivery, o Outcome) {
	w.alive(now)
	w.window.success()
	if d.Redelivery {
		w.giveUp(now, d, o, 1)
		return
	}
	w.settle(d)
}

func (w *Worker) unauthorized(now time.Time, d Delivery, o Outcome) {
	f := d.failure()
	if f.unauthorized >= w.limits.Rules.UnauthorizedTries {
		w.refused(now, d, o)
		return
	}
	w.alive(now)
	f.unauthorized++
	f.note(now)
	f.retryAt, f.strict = now.Add(unauthorizedDelay(f.unauthorized)), true
}

func (w *Worker) throttle(now time.Time, d Delivery, o Outcome) {
	w.window.close()
	again := d.seq <= w.throttled
	wait := o.RetryAfter
	switch {
	case wait <= 0 && again:
		return
	case wait <= 0:
		wait = throttleDelay(w.state.Throttles)
	case !again:
		wait = max(wait, throttleFloor(w.state.Throttles))
	}
	if !again {
		w.state.Throttles++
	}
	w.throttled = w.started
	w.state.NotBefore = latest(w.state.NotBefore, now.Add(wait))
}

// gone counts what the shared inbox says, once a round: one wrong minute of a proxy is not a whole window of proofs.
func (w *Worker) gone(now time.Time, d Delivery) {
	if d.seq <= w.failed {
		return
	}
	old := now.Add(-goneWindow)
	w.state.GoneAt = slices.DeleteFunc(w.state.GoneAt, func(t time.Time) bool { return !t.After(old) })
	w.state.GoneAt = append(w.state.GoneAt, now)
	if len(w.state.GoneAt) >= goneLimit {
		w.state.Gone = true
	}
}

// fail notes a failure, of the instance if it is the first of its round, and of the inbox.
func (w *Worker) fail(now time.Time, d Delivery, o Outcome) {
	if d.seq > w.failed {
		w.failed = w.started
		w.state.FailCount++
		w.state.LastRetryAt = now
		w.window.halve()
	}
	f := d.failure()
	others := w.delivered - d.entry.delivered
	counts := d.Redelivery || f.attempts == 0 || others > f.others
	if counts {
		f.attempts++
	}
	f.note(now)
	f.others, f.answered = others, w.answered
	f.retryAt = now.Add(jobDelay(f.attempts, w.seed+uint64(d.Activity.ID)))
	// A second failure that counts proves that it is this activity: its tries must not cost its neighbours their turns.
	f.strict = d.Redelivery || f.attempts > 1
	if counts && f.attempts >= maxAttempts && now.Sub(f.first) >= minFailing {
		w.giveUp(now, d, o, 0)
	}
}

func (d Delivery) failure() *failure {
	s := &d.entry.slots[d.index]
	if s.failure == nil {
		s.failure = new(failure)
	}
	return s.failure
}

func (f *failure) note(now time.Time) {
	if f.first.IsZero() {
		f.first = now
	}
	f.last = now
}

// giveUp settles the inbox with a Letter. tries is what this outcome adds to the attempts that counted before.
func (w *Worker) giveUp(now time.Time, d Delivery, o Outcome, tries int) {
	l := Letter{
		ActivityID: d.Activity.ID, Inbox: d.Inbox.URL, Reason: o.Reason, HTTPStatus: o.Status,
		Attempts: tries, FirstAt: now, LastAt: now,
	}
	if f := d.entry.slots[d.index].failure; f != nil {
		l.Attempts += f.attempts + f.unauthorized
		l.FirstAt = f.first
	}
	w.letters = append(w.letters, l)
	w.settle(d)
}

// TakeLetters returns the dead letters since the last call. They must be saved with or before the [State] that
// follows: it counts them as settled.
func (w *Worker) TakeLetters() []Letter {
	l := w.letters
	w.letters = nil
	return l
}

// TakeRedelivered returns the redeliveries that were settled since the last call, as they were offered less the inboxes
// that waited already. Those of them that failed are letters again.
func (w *Worker) TakeRedelivered() []Job {
	r := w.redelivered
	w.redelivered = nil
	return r
}
