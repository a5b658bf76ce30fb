package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// takeoverPatience is far above the promised second.
const takeoverPatience = 30 * time.Second

// lookClosely is how often something is looked for that is to be timed.
const lookClosely = 10 * time.Millisecond

// kill is what happened when a sender was killed.
type kill struct {
	name string
	at   time.Time
}

func (d *demo) takeDown() {
	d.cluster.Fedi.Instance(downDomain).SetLink(fediverse.Down)
	d.screen.event("%s is down: it resets connections. Its queue waits,", downDomain)
	d.screen.more("those of all others go on.")
}

// bringBack waits until the server that was down has all that it missed, or long enough: then the verdict will tell.
func (d *demo) bringBack(ctx context.Context) error {
	missed := map[string]bool{}
	for _, a := range d.stream.written() {
		missed[a.id] = follows(a.of, slices.Index(d.cast.domains, downDomain))
	}
	left := func() int {
		for _, arrived := range d.cluster.Fedi.Ledger().FirstArrivals(downDomain) {
			delete(missed, arrived.Activity)
		}
		return len(missed)
	}
	waiting := left()
	d.cluster.Fedi.Instance(downDomain).SetLink(fediverse.Up)
	d.screen.event("%s is back: %d activities wait for it.", downDomain, waiting)
	began := time.Now()
	for time.Since(began) < settlePatience {
		if err := sleep(ctx, lookClosely); err != nil {
			return err
		}
		if left() == 0 {
			d.screen.event("%s has all of them, %s later.", downDomain, seconds(time.Since(began)))
			return nil
		}
	}
	return nil
}

// killOne kills a sender and waits until the others hold all its servers, by the locks.
func (d *demo) killOne(ctx context.Context) error {
	s := d.senders[victim]
	held, err := d.watch.leases(ctx)
	if err != nil {
		return err
	}
	d.watch.expectEnd(s)
	d.screen.event("%s, which holds %s servers, is killed (SIGKILL).", s.Name, thousands(held[s.Name]))
	d.screen.more("Its locks end with its connection to Postgres.")
	d.kill = kill{name: s.Name, at: time.Now()}
	s.Kill()
	ctx, cancel := context.WithTimeoutCause(ctx, takeoverPatience, fmt.Errorf("the servers of %s were not taken over within %s", s.Name, takeoverPatience))
	defer cancel()
	for {
		left, err := d.leftBy(ctx, s)
		if err != nil {
			return err
		}
		if left == 0 {
			d.screen.event("The others hold all of its servers, %s after the kill.", seconds(time.Since(d.kill.at)))
			return nil
		}
		if err := sleep(ctx, lookClosely); err != nil {
			return err
		}
	}
}

// leftBy is how many servers nobody else holds.
func (d *demo) leftBy(ctx context.Context, s *fleet.Sender) (int, error) {
	held, err := d.watch.leases(ctx)
	if err != nil {
		return 0, err
	}
	left := len(d.cast.domains)
	for name, number := range held {
		if name != s.Name {
			left -= number
		}
	}
	return left, nil
}
