package sender

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// densityIDs is how many ids a density looks back on, give or take a half: enough for an instance that gets one activity in
// a thousand, and so few that a backlog of another kind is soon seen as such.
const densityIDs = 20_000

// density is how many deliveries an id is worth, by the last ids that were read for one instance or for all.
type density struct{ ids, deliveries float64 }

func (d *density) note(ids int64, deliveries int) {
	if d.ids > densityIDs {
		d.ids, d.deliveries = d.ids/2, d.deliveries/2
	}
	d.ids += float64(ids)
	d.deliveries += float64(deliveries)
}

// perID is zero where nothing was read.
func (d *density) perID() float64 {
	if d.ids <= 0 {
		return 0
	}
	return d.deliveries / d.ids
}

// demand is what instances that take deliveries ask of a process. What fails, is paused or was told to wait asks nothing.
type demand struct {
	waiting   float64       // deliveries, by the densities where they were not read yet
	instances int           // for which they wait
	lag       time.Duration // of the oldest activity that waits
	inFlight  int
	behind    float64 // deliveries that each further id brings to those that are behind
	arrived   int64   // deliveries that the head has brought the others, since the start
	head      int64
}

func (d *dispatcher) demand(now time.Time) demand {
	var sum demand
	for part := range slices.Chunk(d.all(), censusPart) {
		d.addDemand(part, now, &sum)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sum.arrived, sum.head = d.arrived, d.head
	return sum
}

func (d *dispatcher) addDemand(part []*slot, now time.Time, sum *demand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range part {
		if s.dropped || s.worker.Idle() && !s.behind || s.worker.Word(now) != worker.WordOK {
			continue
		}
		if at := s.worker.PublishedAt(); !at.IsZero() {
			sum.lag = max(sum.lag, now.Sub(at))
		}
		sum.inFlight += s.inFlight
		waiting := float64(s.worker.Waiting())
		if s.behind {
			known := &s.density
			if known.ids == 0 {
				known = &d.density
			}
			waiting += known.perID() * float64(max(0, d.head-s.worker.Offered()))
			sum.behind += known.perID()
		}
		if waiting > 0 {
			sum.waiting += waiting
			sum.instances++
		}
	}
}

// pressure tells how much a process is asked for and how busy it is, from one look to the next.
type pressure struct {
	at      time.Time
	cpu     time.Duration
	arrived int64
	head    int64
	flight  float64 // part of SENDER_MAX_IN_FLIGHT, evened out
}

// look fills in what was between the last look and now.
func (p *pressure) look(now time.Time, d demand, maxInFlight int, said *pg.Process) {
	cpu, measured := processorTime()
	before := *p
	*p = pressure{at: now, cpu: cpu, arrived: d.arrived, head: d.head, flight: (before.flight + float64(d.inFlight)/float64(maxInFlight)) / 2}
	said.Waiting, said.WaitingInstances, said.LagSeconds = int64(d.waiting), d.instances, d.lag.Seconds()
	seconds := now.Sub(before.at).Seconds()
	if before.at.IsZero() || seconds <= 0 {
		return
	}
	said.ArrivingPerSecond = (float64(d.arrived-before.arrived) + d.behind*float64(max(0, d.head-before.head))) / seconds
	said.Busy = p.flight
	if measured {
		said.Busy = max(said.Busy, (cpu-before.cpu).Seconds()/seconds/min(processors(), float64(runtime.GOMAXPROCS(0))))
	}
	said.Busy = min(said.Busy, 1)
}

// noteDemand keeps what the fleet needs, for who is slow to want less. The first present process does it for all.
func (e *engine) noteDemand(ctx context.Context) error {
	keeper := e.keeper.Load()
	if keeper == nil {
		return nil
	}
	if members := keeper.Plan().Members(); len(members) == 0 || members[0] != e.id {
		return nil
	}
	return pg.NoteDemand(ctx, e.pool)
}
