package deliver

import (
	"context"
	"time"
)

// patience ends a context when the other side has had its time. What a request waits for its turn at a processor here is not
// counted: it would be held against a server that has done nothing. It belongs to one goroutine; nil has no end.
type patience struct {
	timer  *time.Timer
	left   time.Duration // when it began last
	began  time.Time
	paused bool
	cancel context.CancelCauseFunc
}

func withPatience(ctx context.Context, limit time.Duration, cause error) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &patience{
		timer: time.AfterFunc(limit, func() { cancel(cause) }),
		left:  limit, began: time.Now(), cancel: cancel,
	}
}

// pause stops the time, unless it is over.
func (p *patience) pause() {
	if p == nil || !p.timer.Stop() {
		return
	}
	p.paused = true
	p.left -= time.Since(p.began)
}

func (p *patience) resume() {
	if p == nil || !p.paused {
		return
	}
	p.paused, p.began = false, time.Now()
	p.timer.Reset(max(0, p.left))
}

// end releases what the context holds.
func (p *patience) end() {
	p.timer.Stop()
	p.cancel(nil)
}
