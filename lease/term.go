package lease

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Term is how long leases are good after the start of a round trip that proved the session alive. It must stay below
// what the server needs to end a silent session (9.1 s measured with the settings in the package comment), and above
// one heartbeat interval and two calls that take their full 2 s.
const Term = 6 * time.Second

var errDeadline = errors.New("no answer from the database in time")

// moment is one instant on both clocks.
type moment struct{ mono, wall time.Time }

func (m moment) add(d time.Duration) moment { return moment{m.mono.Add(d), m.wall.Add(d)} }

// before is true while neither clock has reached end.
func (m moment) before(end moment) bool { return m.mono.Before(end.mono) && m.wall.Before(end.wall) }

// term owns the deadline: once it has passed, or once the session is lost, ctx is cancelled for ever.
type term struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wall   func() time.Time

	mu    sync.Mutex
	end   moment
	timer *time.Timer
}

func newTerm(ctx context.Context, wall func() time.Time) *term {
	t := &term{wall: wall}
	t.ctx, t.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return t
}

// now strips the monotonic reading from the wall clock: with it, Before would compare the monotonic clock twice.
func (t *term) now() moment { return moment{time.Now(), t.wall().Round(0)} }

// begin starts the first term.
func (t *term) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = t.now().add(Term)
	t.timer = time.AfterFunc(Term, func() { t.valid() })
}

// extend moves the deadline after a good round trip that started at start. A deadline that has passed
// meanwhile stays passed.
func (t *term) extend(start moment) {
	if !t.valid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = start.add(Term)
	t.timer.Reset(time.Until(t.end.mono))
}

func (t *term) valid() bool {
	if t.ctx.Err() != nil {
		return false
	}
	t.mu.Lock()
	begun := t.timer != nil
	good := t.now().before(t.end)
	t.mu.Unlock()
	if begun && !good {
		t.cancel(errDeadline)
	}
	return begun && good
}

// finish cancels with cause, unless something else did, and stops the timer.
func (t *term) finish(cause error) {
	t.cancel(cause)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}
