package sender

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// loadWindow is what the moving average of a load looks back on: long enough that chance evens out, short enough that
	// a new load is seen before people see it.
	loadWindow = 15 * time.Second
	// youngest is the age up to which an average is taken for one of that age: one delivery in the first second of a
	// lease is not one a second.
	youngest = 5 * time.Second
	// maxBusiest and leastBusy bound what a process says of its instances: those that are a noticeable part of its load.
	maxBusiest = 500
	leastBusy  = 0.1
	smallPart  = 1.0 / 1000
)

// meter is the moving average of what an instance costs: deliveries a second, and one more for each that is under way.
// It is brought up to date only when something changes, so that an idle instance costs nothing.
type meter struct {
	load      float64
	begun, at time.Time
}

// settle takes in the time since the last change, in which so many deliveries were under way.
func (m *meter) settle(now time.Time, inFlight int) {
	if m.at.IsZero() {
		m.begun, m.at = now, now
		return
	}
	passed := max(0, now.Sub(m.at)) // who asks may have read the clock a moment before
	kept := math.Exp(-passed.Seconds() / loadWindow.Seconds())
	m.load = m.load*kept + float64(inFlight)*(1-kept)
	m.at = now
}

// delivered counts one delivery.
func (m *meter) delivered() { m.load += 1 / loadWindow.Seconds() }

// read returns the load. A young average, which began with nothing, is scaled up.
func (m *meter) read(now time.Time, inFlight int) float64 {
	if m.at.IsZero() {
		return 0
	}
	m.settle(now, inFlight)
	age := max(now.Sub(m.begun), youngest)
	return m.load / (1 - math.Exp(-age.Seconds()/loadWindow.Seconds()))
}

// busyInstance is what one instance costs.
type busyInstance struct {
	id   int32
	load float64
}

// load is what all instances together cost, and the busiest of them, the busiest first.
func (d *dispatcher) load(now time.Time) (total float64, busiest []busyInstance) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, s := range d.slots {
		load := s.meter.read(now, s.inFlight)
		total += load
		if load >= leastBusy {
			busiest = append(busiest, busyInstance{id, load})
		}
	}
	slices.SortFunc(busiest, func(a, b busyInstance) int { return cmp.Or(cmp.Compare(b.load, a.load), cmp.Compare(a.id, b.id)) })
	busiest = busiest[:min(len(busiest), maxBusiest)]
	for i, b := range busiest {
		if b.load < total*smallPart {
			return total, busiest[:i]
		}
	}
	return total, busiest
}

const (
	// speedSeconds is how many seconds a process is judged by, hiccups how many of them, the worst, do not count.
	speedSeconds = 15
	hiccups      = 3
	// leastSigned is how many signatures a second must have to count, and leastSeconds how many such seconds there must be:
	// who signs less has no need of more.
	leastSigned  = 5
	leastSeconds = 10
)

// speedometer measures how many signatures a process could make in a second, by how long one takes. Signatures are most of
// the work, and a processor that others use too, or that a container may use only a part of the time, makes them take
// longer. It is safe for several goroutines.
type speedometer struct {
	mu      sync.Mutex
	seconds [speedSeconds]signedSecond
}

// signed takes in one signature that was made at now.
func (s *speedometer) signed(now time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	second := now.Unix()
	place := &s.seconds[second%speedSeconds]
	if place.second != second {
		*place = signedSecond{second: second}
	}
	place.count++
	place.took += took
}

// perSecond is the mean over the last seconds but the worst few of them; 0: there were too few signatures to tell.
func (s *speedometer) perSecond(now time.Time) float64 {
	s.mu.Lock()
	seconds := s.seconds
	s.mu.Unlock()
	counted := slices.DeleteFunc(seconds[:], func(second signedSecond) bool {
		return now.Unix()-second.second >= speedSeconds || second.count < leastSigned
	})
	if len(counted) < leastSeconds {
		return 0
	}
	slices.SortFunc(counted, func(a, b signedSecond) int { return cmp.Compare(a.mean(), b.mean()) })
	count, took := 0, time.Duration(0)
	for _, second := range counted[:len(counted)-hiccups] {
		count += second.count
		took += second.took
	}
	return float64(runtime.GOMAXPROCS(0)) * float64(count) / max(took, time.Nanosecond).Seconds()
}

// signedSecond are the signatures of one second.
type signedSecond struct {
	second int64 // Unix time
	count  int
	took   time.Duration
}

func (s signedSecond) mean() time.Duration { return s.took / time.Duration(s.count) }
