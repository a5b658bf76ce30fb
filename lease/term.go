package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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

	// end is nil before the term begins. It is read before each write to a socket, by all deliveries at one time, so it
	// takes no lock. Both clocks' ends are one value: a mix of two could be later than either.
	end atomic.Pointer[moment]

	mu    sync.Mutex // guards timer
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
	end := t.now().add(Term)
	t.end.Store(&end)
	t.timer = time.AfterFunc(Term, func() { t.valid() })
}

// extend moves the deadline after a good round trip that started at start. A deadline that has passed
// meanwhile stays passed.
func (t *term) extend(start moment) {
	if !t.valid() {
		return
	}
	end := start.add(Term)
	t.end.Store(&end)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Reset(time.Until(end.mono))
}

// valid compares the clocks itself. Who finds the deadline passed ends the term for everybody, so that no clock which
// goes back revives it.
func (t *term) valid() bool {
	end := t.end.Load()
	if end == nil || t.ctx.Err() != nil {
		return false
	}
	if termEndless || t.now().before(*end) {
		return true
	}
	t.cancel(errDeadline)
	return false
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
