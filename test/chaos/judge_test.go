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
	// saveEvery is how often cursors are written, and how old an answer that is in none may be where more is sent.
	saveEvery = time.Second
	// saveLate is how much later a machine that is busy with other things may be with all that, and a crash of the database
	// takes what it committed in its last 0.6 s: three times wal_writer_delay.
	saveLate = 2 * time.Second
	// maxComplaints is how many of a kind are told.
	maxComplaints = 10
)

// judgement is what the ledger and the samples say about a stretch of time. Complaints are what must not be.
type judgement struct {
	complaints map[string][]string // by kind

	twice  int // duplicates
	harms  int // runs of deliveries that were broken off and made some
	most   int // of one run
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
	return fmt.Sprintf("%d duplicates; at most %d of one process at one instance, where the window and one second are %d; beyond those: %d of %d; "+
		"two holders %d; beside the next holder's: %d sent before, %d let out on waking", j.twice, j.most, j.bound, j.strict, j.harms,
		j.overlaps+j.strangers, j.fromBefore, j.letOut)
}

// pair is one activity at one inbox.
type pair struct{ inbox, activity string }

func pairOf(d fediverse.Delivery) pair { return pair{d.Domain + d.Path, d.Activity} }

// run is what one process delivered to an instance, until another one did or itself began to deliver it again.
type run struct {
	instance, process string
	arrived           []time.Time
	twice             int                // of them, those that were delivered again
	oldest            fediverse.Delivery // of these
}

// again notes a delivery of the run that was forgotten.
func (o *run) again(d fediverse.Delivery) {
	if o.twice++; o.twice == 1 || d.Arrived.Before(o.oldest.Arrived) {
		o.oldest = d
	}
}

// unsaved counts what may have been delivered since the oldest that was forgotten until so long after its answer.
func (o *run) unsaved(most time.Duration) int {
	from, _ := slices.BinarySearchFunc(o.arrived, o.oldest.Arrived, time.Time.Compare)
	to, _ := slices.BinarySearchFunc(o.arrived, o.oldest.Ended.Add(most), time.Time.Compare)
	return max(to-from, 0)
}

// judgeDuplicates allows what a process may lose when it is cut off: at each instance what was delivered within a second of the
// oldest answer that no cursor has, because then no more starts there than the window has room for, and what is in flight at
// that moment. A duplicate without an incident is a complaint. It judges what came from the sequence number on.
func (r *rig) judgeDuplicates(j *judgement, from int) {
	before := map[pair]fediverse.Delivery{} // the last that was accepted
	within := map[pair]*run{}               // and its run
	current := map[string]*run{}            // by instance
	var broken []*run
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if !d.Accepted() {
			continue
		}
		key, now := pairOf(d), current[d.Domain]
		earlier, again := before[key]
		if now == nil || now.process != d.Process || again && within[key] == now {
			now = &run{instance: d.Domain, process: d.Process}
			current[d.Domain] = now
		}
		if again && d.Seq >= from {
			j.twice++
			if r.incidentBetween(earlier, d) == nil {
				j.complain("delivered twice without a cause", "at %s: %s by %s at %s and by %s %s later", d.Domain, d.Activity,
					earlier.Process, clock(earlier.Arrived), d.Process, d.Arrived.Sub(earlier.Arrived))
			} else {
				cut := within[key]
				if cut.again(earlier); cut.twice == 1 {
					broken = append(broken, cut)
				}
			}
		}
		now.arrived = append(now.arrived, d.Arrived)
		before[key], within[key] = d, now
	}
	j.harms = len(broken)
	for _, cut := range broken {
		budget, limit := window+cut.unsaved(saveEvery), window+cut.unsaved(saveEvery+saveLate)
		if cut.twice > j.most {
			j.most, j.bound = cut.twice, budget
		}
		if cut.twice > budget {
			j.strict++
		}
		if cut.twice > limit {
			j.complain("delivered twice too often", "%d at %s of what %q had delivered since %s; allowed: %d", cut.twice, cut.instance,
				cut.process, clock(cut.oldest.Arrived), limit)
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
