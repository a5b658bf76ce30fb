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
	// Ready: this process delivers for the first time, or Reloading has ended; then the text tells whether it delivers.
	Ready Phase = iota + 1
	// Reloading: secrets are read again. It comes only after the first Ready, and Ready follows unless ctx ends before.
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

// notices belongs to the goroutine that alone calls Notify.
type notices struct {
	*engine
	ready func() error
	begun bool   // Ready was said
	said  string // the last text
}

// runNotices tells Notify how the process is until ended ends. ctx is that of the loops.
func (e *engine) runNotices(ctx, ended context.Context) {
	(&notices{engine: e, ready: e.ready}).run(ctx, ended)
}

func (n *notices) run(ctx, ended context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	stopping := ctx.Done()
	n.live(ctx.Err() != nil)
	for {
		select {
		case <-ended.Done():
			return
		case <-stopping:
			stopping = nil
			n.tell(Stopping, "letting deliveries in flight end")
		case begins := <-n.reloads:
			if ctx.Err() == nil {
				n.reload(begins)
			}
		case <-tick.C:
			n.live(ctx.Err() != nil)
		}
	}
}

// live tells that the process lives, and once that it is ready. Draining has bounds of its own.
func (n *notices) live(draining bool) {
	if draining {
		n.tell(Alive, n.said)
		return
	}
	if !n.pulse.isFelt() {
		return
	}
	text, delivers := n.state()
	if delivers && !n.begun {
		n.begun = true
		n.tell(Ready, text)
	}
	n.tell(Alive, text)
}

// reload tells of a reload. Whoever waits for the first Ready would take the one after a reload for it.
func (n *notices) reload(begins bool) {
	switch text, _ := n.state(); {
	case !n.begun:
	case begins:
		n.tell(Reloading, "reading the secrets again")
	default:
		n.tell(Ready, text)
	}
}

func (n *notices) state() (text string, delivers bool) {
	if err := n.ready(); err != nil {
		return "not delivering: " + err.Error(), false
	}
	return "delivering", true
}

func (n *notices) tell(phase Phase, text string) {
	if phase == Alive && text == n.said {
		text = ""
	} else {
		n.said = text
	}
	if n.config.Notify != nil {
		n.config.Notify(phase, text)
	}
}

// tellReload has the goroutine of the notices say that a reload begins or has ended.
func (e *engine) tellReload(ctx context.Context, begins bool) {
	select {
	case e.reloads <- begins:
	case <-ctx.Done():
	}
}
