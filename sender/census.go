package sender

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/worker"
)

const (
	// censusAge is for how long all gauges of a scrape, and scrapes that come together, share one look at the slots.
	censusAge = time.Second
	// censusPart is how many slots are looked at in one go, which holds up deliveries: some 0.3 ms.
	censusPart = 1000
)

// stateBlocked is what the gauges call an instance that a list keeps from being sent to; the other states are those of its
// worker.
const stateBlocked = "blocked"

// states are all that an instance can be in, each a label that is there from the start.
var states = []string{
	string(worker.WordOK), string(worker.WordRestoring), string(worker.WordFailing), string(worker.WordThrottled),
	string(worker.WordPaused), string(worker.WordDead), stateBlocked,
}

// census is what the slots are like, all together.
type census struct {
	states     map[string]int
	waiting    int // deliveries that were offered and have not begun
	backingOff int
	load       float64
	lag        time.Duration // of the oldest activity that waits for an instance that takes deliveries
	unsaved    time.Duration // of the oldest outcome that the database does not have
	late       []standing    // the longest behind, at most as many as were asked for
	failing    []standing    // those that failed the most often in a row
}

// standing is one number of one instance.
type standing struct {
	id    int32
	value float64
}

// censuses makes a census when the last one is too old. It is safe for several goroutines.
type censuses struct {
	mu   sync.Mutex
	at   time.Time
	last census
}

func (c *censuses) get(d *dispatcher, worst int) census {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.at) >= censusAge {
		c.last, c.at = d.census(now, worst), now
	}
	return c.last
}

// census looks at every slot. worst is how many are named.
func (d *dispatcher) census(now time.Time, worst int) census {
	c := census{states: make(map[string]int, len(states))}
	for _, state := range states {
		c.states[state] = 0
	}
	late, failing := leaders{most: worst}, leaders{most: worst}
	for part := range slices.Chunk(d.all(), censusPart) {
		d.countPart(part, now, &c, &late, &failing)
	}
	c.late, c.failing = late.list, failing.list
	return c
}

// all are the slots of this moment.
func (d *dispatcher) all() []*slot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.AppendSeq(make([]*slot, 0, len(d.slots)), maps.Values(d.slots))
}

func (d *dispatcher) countPart(part []*slot, now time.Time, c *census, late, failing *leaders) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range part {
		if s.dropped {
			continue
		}
		word := s.worker.Word(now)
		if s.blocked {
			c.states[stateBlocked]++
		} else {
			c.states[string(word)]++
		}
		c.load += s.meter.read(now, s.inFlight)
		if !s.unsavedSince.IsZero() {
			c.unsaved = max(c.unsaved, now.Sub(s.unsavedSince))
		}
		if s.worker.Waits(now) {
			c.backingOff++
		}
		failing.add(s.id, float64(s.worker.Failures()))
		if s.worker.Idle() && !s.behind {
			continue
		}
		c.waiting += s.worker.Waiting()
		at := s.worker.PublishedAt()
		if at.IsZero() {
			continue
		}
		lag := now.Sub(at)
		late.add(s.id, lag.Seconds())
		if word == worker.WordOK {
			c.lag = max(c.lag, lag)
		}
	}
}

// leaders keeps the highest, the highest first.
type leaders struct {
	most int
	list []standing
}

func (l *leaders) add(id int32, value float64) {
	if value <= 0 || l.most == 0 || len(l.list) == l.most && value <= l.list[l.most-1].value {
		return
	}
	place, _ := slices.BinarySearchFunc(l.list, value, func(s standing, value float64) int { return cmp.Compare(value, s.value) })
	l.list = slices.Insert(l.list, place, standing{id, value})
	l.list = l.list[:min(len(l.list), l.most)]
}

// figures names instances.
func (e *engine) figures(list []standing) []admin.Figure {
	var figures []admin.Figure
	for _, s := range list {
		if instance, ok := e.index.Instance(s.id); ok {
			figures = append(figures, admin.Figure{Domain: instance.Domain, Value: s.value})
		}
	}
	return figures
}
