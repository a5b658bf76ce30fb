package chaos

import (
	"fmt"
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
	// maxComplaints is how many of a kind are told.
	maxComplaints = 10
)

// judgement is what the ledger and the samples say about a stretch of time. Complaints are what must not be.
type judgement struct {
	complaints map[string][]string // by kind

	twice  int // duplicates
	harms  int // pairs of incident and instance that made some
	most   int // for one of these
	bound  int // what was allowed there
	strict int // of the harms, those that exceed the budget in which writing takes no time

	overlaps, strangers int // two holders: seen as open requests; by the locks
	fromBefore          int // requests sent before an incident that were open beside one of the next holder
	letOut              int // requests sent by a process as it woke, without a lease
	rewound             int // cursors that a crash of the database set back, as it may
	ownLosses           int // lease sessions that were lost without a fault
}

func (j *judgement) complain(kind, format string, args ...any) {
	if j.complaints == nil {
		j.complaints = map[string][]string{}
	}
	j.complaints[kind] = append(j.complaints[kind], fmt.Sprintf(format, args...))
}

// fail has the test fail if there is a complaint.
func (j *judgement) fail(r *rig) {
	r.t.Helper()
	for kind, all := range j.complaints {
		r.t.Errorf("%s, %d times", kind, len(all))
		for _, one := range all[:min(len(all), maxComplaints)] {
			r.t.Log(one)
		}
	}
}

// String is the figures.
func (j *judgement) String() string {
	return fmt.Sprintf("%d duplicates; at most %d for one fault and instance, where the window and one second are %d; beyond those: %d of %d; "+
		"two holders %d; beside the next holder's: %d sent before, %d let out on waking", j.twice, j.most, j.bound, j.strict, j.harms,
		j.overlaps+j.strangers, j.fromBefore, j.letOut)
}

// pair is one activity at one inbox.
type pair struct{ inbox, activity string }

func pairOf(d fediverse.Delivery) pair { return pair{d.Domain + d.Path, d.Activity} }

// harm is what one incident did to one instance.
type harm struct {
	incident *incident
	instance string
}

// judgeDuplicates allows what an incident may cost: for each instance what its holder had in flight, and what it had
// delivered since it last wrote the cursor. A duplicate without an incident is a complaint. It judges what came from the
// sequence number on.
func (r *rig) judgeDuplicates(j *judgement, from int) {
	before := map[pair]fediverse.Delivery{} // the last that was accepted
	twice := map[harm]int{}
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if !d.Accepted() {
			continue
		}
		if earlier, again := before[pairOf(d)]; again && d.Seq >= from {
			j.twice++
			if i := r.incidentBetween(earlier, d); i == nil {
				j.complain("delivered twice without a cause", "at %s: %s by %s at %s and by %s %s later", d.Domain, d.Activity,
					earlier.Process, clock(earlier.Arrived), d.Process, d.Arrived.Sub(earlier.Arrived))
			} else {
				twice[harm{i, d.Domain}]++
			}
		}
		before[pairOf(d)] = d
	}
	j.harms = len(twice)
	for h, count := range twice {
		budget, limit := window+r.recent(h, saveEvery), window+r.recent(h, saveEvery+saveTakes)
		if count > j.most {
			j.most, j.bound = count, budget
		}
		if count > budget {
			j.strict++
		}
		if count > limit {
			j.complain("delivered twice too often", "%d at %s after the fault of %q at %s; allowed: %d", count, h.instance,
				h.incident.process, clock(h.incident.at), limit)
		}
	}
}

// incidentBetween finds the incident after which a delivery was forgotten and made again, or nil. It is the first that the
// process suffered between the two, or else the one before that, if the receiver may have read what was sent until then.
func (r *rig) incidentBetween(first, again fediverse.Delivery) *incident {
	var before *incident
	for _, i := range r.incidents {
		switch {
		case !i.hits(first.Process) || i.at.After(again.Arrived):
		case !i.at.Before(first.Arrived):
			return i
		case !first.Arrived.After(i.end.Add(underWay)):
			before = i
		}
	}
	return before
}

// recent counts what the instance accepted of the process in the time before the incident, and while it lasted.
func (r *rig) recent(h harm, before time.Duration) int {
	i, count := h.incident, 0
	for _, d := range r.Fedi.Ledger().Deliveries(h.instance) {
		if d.Accepted() && i.hits(d.Process) && d.Arrived.After(i.at.Add(-before)) && !d.Arrived.After(i.end) {
			count++
		}
	}
	return count
}

// checkOverlaps fails the test where two processes delivered to one instance at one time.
func (r *rig) checkOverlaps() {
	r.t.Helper()
	j := &judgement{}
	r.judgeOverlaps(j, 0)
	if j.fromBefore+j.letOut > 0 {
		r.t.Logf("beside a request of the next holder were open: %d sent before a fault, %d let out on waking", j.fromBefore, j.letOut)
	}
	j.fail(r)
}

// judgeOverlaps complains where two processes delivered to one instance at one time. Counted apart is what no sender can
// help: a request that was sent before an incident and is still open at the receiver when the next holder's arrives, or is
// read only then; and what a process lets out as it wakes.
func (r *rig) judgeOverlaps(j *judgement, from int) {
	for _, o := range r.Fedi.Ledger().Overlaps("") {
		switch {
		case o.Second.Seq < from:
		case r.suffered(o.First, (*incident).before), r.suffered(o.Second, (*incident).silencedBefore):
			j.fromBefore++
		case r.suffered(o.First, (*incident).letOut), r.suffered(o.Second, (*incident).letOut):
			// Counted by countLetOut.
		default:
			j.overlaps++
			j.complain("two delivered to one instance at one time", "%s: %s sent %s from %s to %s, %s sent %s at %s", o.First.Domain,
				o.First.Process, o.First.Activity, clock(o.First.Arrived), clock(o.First.Ended),
				o.Second.Process, o.Second.Activity, clock(o.Second.Arrived))
		}
	}
}

// silencedBefore is before, for requests that arrive when the next holder has begun already.
func (i *incident) silencedBefore(d fediverse.Delivery) bool { return i.silenced && i.before(d) }

func (r *rig) suffered(d fediverse.Delivery, so func(*incident, fediverse.Delivery) bool) bool {
	return slices.ContainsFunc(r.incidents, func(i *incident) bool { return so(i, d) })
}

// countLetOut counts what was sent on waking without a lease: at most one request on each connection.
func (r *rig) countLetOut(j *judgement, from int) {
	on := map[int]int{}
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if d.Seq < from || !r.suffered(d, (*incident).letOut) {
			continue
		}
		j.letOut++
		if on[d.Connection]++; on[d.Connection] == 2 {
			j.complain("let out more than one request on a connection", "%s to %s at %s", d.Process, d.Domain, clock(d.Arrived))
		}
	}
}

func clock(at time.Time) string { return at.Format("15:04:05.000") }
