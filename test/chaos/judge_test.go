package chaos

import (
	"slices"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
)

const (
	// window is SENDER_MAX_IN_FLIGHT_PER_INSTANCE.
	window = 16
	// saveEvery is how often cursors are written, and the longest that a settled delivery should be in none.
	saveEvery = time.Second
	// saveTakes is what a save may take at most, on a machine that is busy with other things, before it is broken off.
	saveTakes = 2 * time.Second
	// underWay is how late the receivers, who share the processors with all the rest, may get to read what a process had
	// sent before it was killed.
	underWay = 2 * time.Second
	// noticed is how late a process that lives may learn that it has lost its session; it takes milliseconds.
	noticed = 100 * time.Millisecond
)

// pair is one activity at one inbox.
type pair struct{ inbox, activity string }

func pairOf(d fediverse.Delivery) pair { return pair{d.Domain + d.Path, d.Activity} }

// harm is what one fault did to one instance.
type harm struct {
	fault    int
	instance string
}

// checkDuplicates allows what a fault may cost: for each instance what its holder had in flight, and what it had
// delivered since it last wrote the cursor. A duplicate without a fault is an error. It reports how this compares with
// the budget, in which writing takes no time.
func (r *rig) checkDuplicates() {
	r.t.Helper()
	ledger := r.Fedi.Ledger()
	deliveries := ledger.Deliveries("")
	before := map[pair]fediverse.Delivery{} // the last that was accepted
	twice := map[harm]int{}
	for _, d := range deliveries {
		if !d.Accepted() {
			continue
		}
		if earlier, again := before[pairOf(d)]; again {
			if n := r.faultBetween(earlier, d); n < 0 {
				r.t.Errorf("without cause twice at %s: %s by %s and by %s, %s later", d.Domain, d.Activity,
					earlier.Process, d.Process, d.Arrived.Sub(earlier.Arrived))
			} else {
				twice[harm{n, d.Domain}]++
			}
		}
		before[pairOf(d)] = d
	}
	total, most, bound, beyond := 0, 0, 0, 0
	for h, count := range twice {
		budget, limit := window+r.recent(h, saveEvery), window+r.recent(h, saveEvery+saveTakes)
		if total += count; count > most {
			most, bound = count, budget
		}
		if count > budget {
			beyond++
		}
		if count > limit {
			r.t.Errorf("%d duplicates at %s after fault %d (%s); allowed: %d", count, h.instance, h.fault, r.faults[h.fault].process, limit)
		}
	}
	r.t.Logf("%d faults, %d duplicates; at most %d for one fault and instance, where the window and one second are %d; beyond those: %d of %d",
		len(r.faults), total, most, bound, beyond, len(twice))
}

// faultBetween finds the fault after which a delivery was forgotten and made again; -1: none. It is the first that the
// process suffered between the two, or else the one before that, if the receiver may have read what was sent until then.
func (r *rig) faultBetween(first, again fediverse.Delivery) int {
	before := -1
	for n, f := range r.faults {
		switch {
		case f.process != "" && f.process != first.Process || f.at.After(again.Arrived):
		case !f.at.Before(first.Arrived):
			return n
		case !first.Arrived.After(f.end.Add(underWay)):
			before = n
		}
	}
	return before
}

// recent counts what the instance accepted of the process in the time before the fault.
func (r *rig) recent(h harm, before time.Duration) int {
	f, count := r.faults[h.fault], 0
	for _, d := range r.Fedi.Ledger().Deliveries(h.instance) {
		if d.Accepted() && (f.process == "" || d.Process == f.process) && d.Arrived.After(f.at.Add(-before)) && !d.Arrived.After(f.end) {
			count++
		}
	}
	return count
}

// checkOverlaps fails where two processes delivered to one instance at one time. Allowed is what no sender can help: a
// request that was sent before a fault may still be open at the receiver, or be read only then, when the next
// holder's arrives. Nothing that a process sends later is excused.
func (r *rig) checkOverlaps() {
	r.t.Helper()
	excused := 0
	for _, o := range r.Fedi.Ledger().Overlaps("") {
		if r.excuses(o.First) || r.excuses(o.Second) {
			excused++
			continue
		}
		r.t.Errorf("two at one time at %s: %s sent %s from %s to %s, %s sent %s at %s", o.First.Domain,
			o.First.Process, o.First.Activity, clock(o.First.Arrived), clock(o.First.Ended),
			o.Second.Process, o.Second.Activity, clock(o.Second.Arrived))
	}
	if excused > 0 {
		r.t.Logf("%d requests sent before a fault were open beside one of the next holder", excused)
	}
}

func (r *rig) excuses(d fediverse.Delivery) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool {
		late := noticed
		if f.killed {
			late = underWay
		}
		return (f.process == "" || f.process == d.Process) && !d.Arrived.After(f.end.Add(late)) && !d.Ended.Before(f.at)
	})
}

func clock(at time.Time) string { return at.Format("15:04:05.000") }

func sortedCopy(durations []time.Duration) []time.Duration {
	sorted := slices.Clone(durations)
	slices.Sort(sorted)
	return sorted
}
