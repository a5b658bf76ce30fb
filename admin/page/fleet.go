package page

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fedsender/fedsender/pg"
)

const (
	// fleetAge is how long all viewers share one look at the fleet, if that took little.
	fleetAge = 3 * time.Second
	// fleetTimeout is for all parts together.
	fleetTimeout = 2 * readTimeout
	// maxInstances bounds the memory, a few hundred bytes each, at three times the servers that the fediverse has.
	maxInstances = 100_000
)

// states are all states of an instance, the worst first, as sender status orders them.
var states = []string{"failing", "lagging", "dead", "paused", "blocked", "ok"}

// Snapshot is the fleet as all viewers see it. It is never changed once it is there.
type Snapshot struct {
	At        time.Time
	Took      time.Duration
	Instances []pg.InstanceStatus // the worst first, with their holders
	Cut       bool                // there are more
	States    map[string]int
	IDsBehind int64         // of those that are delivered to
	Lag       time.Duration // the longest of those that are ok or lagging and have not asked for a pause
	Throttled int           // lagging instances that have asked for a pause
	Unheld    int           // that should be held
	Queue     pg.Queue
	Processes []pg.NamedProcess
	// ProcessesRead: Processes were read at least once, so that none means that none runs.
	ProcessesRead bool
	Problems      []string // what could not be read; what is shown of it is older

	holders map[int32]string
	leases  map[string]int // by process
}

// snapshot returns the fleet. Whatever the number of viewers, it is read once in a few seconds, and not at all when nobody
// looks.
func (p *Page) snapshot(ctx context.Context) (*Snapshot, error) {
	return p.fleet.get(ctx, p.LockReads.Wait, func(ctx context.Context, last **Snapshot) *Snapshot {
		next := &Snapshot{}
		if last != nil {
			*next = **last
			next.Problems = nil
		}
		p.readFleet(ctx, next)
		return next
	})
}

// readFleet reads part by part, so that one which is slow leaves the others.
func (p *Page) readFleet(ctx context.Context, s *Snapshot) {
	s.At = time.Now()
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	part := func(what string, read func(ctx context.Context, q pg.Querier) error) {
		if err := p.reading(ctx, read); err != nil {
			s.Problems = append(s.Problems, p.problem(what, err))
		}
	}
	part("How far the queue is", func(ctx context.Context, q pg.Querier) (err error) {
		queue, err := pg.ReadQueue(ctx, q)
		if err == nil {
			s.Queue = queue
		}
		return err
	})
	part("Which processes run", func(ctx context.Context, q pg.Querier) error {
		processes, err := pg.ProcessesWithoutLeases(ctx, q)
		if err == nil {
			s.Processes, s.ProcessesRead = processes, true
		}
		return err
	})
	part("Who holds which instance", s.readHolders)
	part("The state of the instances", func(ctx context.Context, q pg.Querier) error {
		instances, err := pg.Fleet(ctx, q, maxInstances+1)
		if err == nil {
			s.Instances, s.Cut = instances, len(instances) > maxInstances
		}
		return err
	})
	s.sum()
	s.Took = time.Since(s.At)
}

func (s *Snapshot) readHolders(ctx context.Context, q pg.Querier) error {
	held, err := pg.Holders(ctx, q)
	if err != nil {
		return err
	}
	s.holders, s.leases = make(map[int32]string, len(held)), map[string]int{}
	for _, h := range held {
		s.holders[h.InstanceID] = h.Name
		s.leases[h.Process]++
	}
	return nil
}

// sum makes what is counted, and the order.
func (s *Snapshot) sum() {
	s.States, s.IDsBehind, s.Lag, s.Throttled, s.Unheld = make(map[string]int, len(states)), 0, 0, 0, 0
	s.Instances = slices.Clone(s.Instances) // of the last snapshot if there was no fresh one
	for i := range s.Instances {
		one := &s.Instances[i]
		one.Holder = s.holders[one.ID]
		s.States[one.State]++
		switch one.State {
		case "ok", "lagging":
			switch throttled := one.Throttled(s.At) > 0; {
			case !throttled:
				s.Lag = max(s.Lag, seconds(one.LagSeconds))
			case one.State == "lagging":
				s.Throttled++
			}
			s.IDsBehind += one.IDsBehind
		case "failing":
			s.IDsBehind += one.IDsBehind
		}
		if one.Holder == "" && s.holders != nil {
			s.Unheld++
		}
	}
	slices.SortFunc(s.Instances, byState)
	s.Processes = slices.Clone(s.Processes)
	for i := range s.Processes {
		s.Processes[i].Leases = s.leases[s.Processes[i].ProcessID]
	}
}

// rank is where a state stands in states.
func rank(state string) int {
	if i := slices.Index(states, state); i >= 0 {
		return i
	}
	return len(states)
}

// byState puts first what a person should look at first.
func byState(a, b pg.InstanceStatus) int {
	if d := rank(a.State) - rank(b.State); d != 0 {
		return d
	}
	if d := compare(b.IDsBehind, a.IDsBehind); d != 0 {
		return d
	}
	return strings.Compare(a.Domain, b.Domain)
}

// PerSecond is what all processes deliver.
func (s *Snapshot) PerSecond() (rate float64) {
	for i := range s.Processes {
		rate += s.Processes[i].DeliveredPerS
	}
	return rate
}

// InFlight are the deliveries under way.
func (s *Snapshot) InFlight() (n int) {
	for i := range s.Processes {
		n += s.Processes[i].InFlight
	}
	return n
}

// Trouble is how many instances are not ok.
func (s *Snapshot) Trouble() int { return len(s.Instances) - s.States["ok"] }
