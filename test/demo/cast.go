package demo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
)

const (
	downDomain = "down.example"
	busyDomain = "busy.example"

	slowBy     = 300 * time.Millisecond
	flakyShare = .1
	flakySeed  = 1
	// busyTakes before it asks for a pause of busyPause: less than what comes in meanwhile, so that it asks again.
	busyTakes = 20
	busyPause = 2 * time.Second
)

// ann is followed on every server, bob on every second one.
const ann, bob, actors = 0, 1, 2

func follows(actor, instance int) bool { return actor == ann || instance%2 == 0 }

// cast is the servers: one that goes down, one that is busy, some that are slow or flaky, the rest as they should be.
type cast struct {
	domains     []string
	slow, flaky int
	calm        *atomic.Bool // the flaky ones fail no more
}

func newCast(instances int) cast {
	c := cast{slow: max(1, instances/20), flaky: max(1, instances/20), calm: new(atomic.Bool)}
	c.domains = append(c.domains, downDomain, busyDomain)
	for i := range c.slow {
		c.domains = append(c.domains, fmt.Sprintf("slow-%d.example", i+1))
	}
	for i := range c.flaky {
		c.domains = append(c.domains, fmt.Sprintf("flaky-%d.example", i+1))
	}
	for i := len(c.domains); i < instances; i++ {
		c.domains = append(c.domains, fmt.Sprintf("server-%d.example", i+1))
	}
	return c
}

func (c cast) domain(i int) string { return c.domains[i] }

// audience is how many servers a post of the actor goes to.
func (c cast) audience(actor int) int {
	n := 0
	for i := range c.domains {
		if follows(actor, i) {
			n++
		}
	}
	return n
}

// instruct tells the servers how to behave.
func (c cast) instruct(f *fediverse.Fediverse) {
	f.Instance(busyDomain).SetBehaviour(rationed(busyTakes, busyPause))
	slow := fediverse.Always(fediverse.Slow(slowBy, fediverse.OK))
	fails := fediverse.Flaky(flakySeed, flakyShare)
	flaky := func(x *fediverse.Exchange) fediverse.Answer {
		if c.calm.Load() {
			return fediverse.OK
		}
		return fails(x)
	}
	for i := range c.slow {
		f.Instance(fmt.Sprintf("slow-%d.example", i+1)).SetBehaviour(slow)
	}
	for i := range c.flaky {
		f.Instance(fmt.Sprintf("flaky-%d.example", i+1)).SetBehaviour(flaky)
	}
}

// rationed takes so many requests and then answers 429, until the pause that it asks for is over.
func rationed(takes int, pause time.Duration) fediverse.Behaviour {
	var mu sync.Mutex
	var taken int
	var until time.Time
	return func(*fediverse.Exchange) fediverse.Answer {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if taken == takes {
			taken, until = 0, now.Add(pause)
		}
		if now.Before(until) {
			return fediverse.RetryAfter(429, pause)
		}
		taken++
		return fediverse.OK
	}
}
