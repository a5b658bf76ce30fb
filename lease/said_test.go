package lease_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
	"github.com/fedsender/fedsender/test/transcript"
)

// journal is a log that can be read while it is written.
type journal struct{ transcript.Transcript }

func (j *journal) count(words string) int {
	return strings.Count(j.String(), words)
}

func (j *journal) keep(c *lease.Config) { c.Log = slog.New(slog.NewTextHandler(j, nil)) }

func TestKeeper_SaysOnceThatASaveKeepsTheSessionBusy(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v, said := newServer(10), &journal{}
		a := v.start(t, "a", said.keep)
		for spell := range 2 {
			pass(11 * time.Second)
			v.set(func() { a.busy = true })
			pass(4 * time.Second)
			v.set(func() { a.busy = false })
			pass(time.Second)
			if n := said.count("heartbeat failed"); n != spell+1 {
				t.Errorf("said %d times after %d spells", n, spell+1)
			}
		}
		v.finish(t)
	})
}

func TestKeeper_SaysNowAndThenThatASessionIsToldToEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v, said := newServer(10), &journal{}
		for i := range 2 {
			v.start(t, fmt.Sprint("p", i), said.keep)
		}
		hung, _ := v.open(t, "hung") // its keeper never runs
		v.set(func() { v.dying = 25 * time.Second })
		pass(29 * time.Second)
		v.set(func() { v.rings = 0 })
		pass(25 * time.Second)
		v.set(func() {
			if v.rings > 2*3 {
				t.Errorf("rang %d times for a session that does not end", v.rings)
			}
		})
		if n := said.count("ended the lease session"); n < 2 || n > 2*3 {
			t.Errorf("two processes said it %d times in 24 s", n)
		}
		pass(10 * time.Second)
		v.set(func() { v.all = v.all[:2] }) // there is no end of a Run to wait for
		hung.stop()
		v.finish(t)
	})
}
