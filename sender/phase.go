package sender

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// pulseEvery is how often Notify hears that the process lives, and how late it hears that it is ready.
	pulseEvery = time.Second
	// pulseWithin is how long a process that does not end may go without a save. One takes a few seconds at most where the
	// database does not answer, and nothing else that is slow or away outside of the process holds it up.
	pulseWithin = 30 * time.Second
)

// Phase is what Config.Notify is told, with a text for people that holds no secret. The calls come one after the other, and should
// not block for long.
type Phase int

const (
	// Ready: this process delivers, for the first time or after Reloading. Once for the start.
	Ready Phase = iota + 1
	// Reloading: secrets are read again.
	Reloading
	// Stopping: ctx has ended; deliveries in flight may still take the shutdown time-out.
	Stopping
	// Alive: each second, while the loops that everything depends on turn. An outage of the database does not keep them from it.
	// The text is empty as long as it is the one before.
	Alive
)

// pulse is when the loop of the saves, which needs the locks that all others need, turned the last time.
type pulse struct{ last atomic.Pointer[time.Time] }

func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

func (p *pulse) isFelt() bool {
	last := p.last.Load()
	return last == nil || time.Since(*last) < pulseWithin
}

// alive says why only a restart can help.
func (e *engine) alive() error {
	if e.leaving.Load() || e.pulse.isFelt() {
		return nil
	}
	return fmt.Errorf("no cursor was written, nor was there a try, for more than %s: this process hangs", pulseWithin)
}

// runNotices tells Notify how the process is until ended ends. ctx is that of the loops.
func (e *engine) runNotices(ctx, ended context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	said, before, stopping := false, "", ctx.Done()
	for {
		switch {
		case ctx.Err() != nil: // draining has bounds of its own
			e.notify(Alive, "")
		case e.pulse.isFelt():
			text := "delivering"
			if err := e.ready(); err != nil {
				text = "not delivering: " + err.Error()
			} else if !said {
				said, before = true, text
				e.notify(Ready, text)
			}
			if text == before {
				e.notify(Alive, "")
			} else {
				e.notify(Alive, text)
			}
			before = text
		}
		select {
		case <-ended.Done():
			return
		case <-stopping:
			stopping = nil
			e.notify(Stopping, "letting deliveries in flight end")
		case <-tick.C:
		}
	}
}

func (e *engine) notify(phase Phase, text string) {
	if e.config.Notify == nil {
		return
	}
	e.notifying.Lock()
	defer e.notifying.Unlock()
	e.config.Notify(phase, text)
}
