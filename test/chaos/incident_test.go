package chaos

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
)

const (
	// underWay is how late the receivers, who share the processors with all the rest, may get to read what a process had
	// sent before it was killed, frozen or cut off.
	underWay = 2 * time.Second
	// noticed is how late a process that lives may learn that it has lost its session; it takes milliseconds.
	noticed = 100 * time.Millisecond
	// wakes is how late the receivers may get to read what a process let out in the moment when it went on.
	wakes = time.Second
)

// incident is what was done to a process, or to all of them.
type incident struct {
	process string    // its name; empty: all
	at      time.Time // it begins
	// lost: from then on the process has no lease that it had before, or can't use it. What it sends is its fault.
	lost time.Time
	end  time.Time // it is over
	// silenced: the process could not read any more that it has lost its leases, so what it had sent may arrive late.
	silenced bool
	woken    time.Time // it goes on after it stood still; zero if it did not
	// renewed is when the process that was woken began a new lease session; zero if it kept the one that it had.
	renewed time.Time
	forgets bool // the database may lose what it committed without waiting for the disk
}

// suffer notes what is about to happen to a process; empty: to all.
func (r *rig) suffer(process string) *incident {
	now := time.Now()
	i := &incident{process: process, at: now, lost: now, end: now}
	r.incidents = append(r.incidents, i)
	return i
}

// struck notes that the leases are gone by now, or can't be used any more.
func (i *incident) struck() { i.lost = time.Now(); i.end = i.lost }

// over notes that nothing is disturbed any more.
func (i *incident) over() { i.end = time.Now() }

func (i *incident) hits(process string) bool { return i.process == "" || i.process == process }

// before says whether the delivery was sent before the incident took effect and was open during it. No sender can take
// it back.
func (i *incident) before(d fediverse.Delivery) bool {
	late := noticed
	if i.silenced {
		late = underWay
	}
	return i.hits(d.Process) && !d.Arrived.After(i.lost.Add(late)) && (d.Ended.IsZero() || !d.Ended.Before(i.at))
}

// letOut says whether the delivery was sent in the moment when its process was woken, under leases that it does not have:
// the process stood still between its last look at them and its write.
func (i *incident) letOut(d fediverse.Delivery) bool {
	return i.process == d.Process && !i.renewed.IsZero() && !d.Arrived.Before(i.woken) && d.Arrived.Before(i.renewed) &&
		d.Arrived.Before(i.woken.Add(wakes))
}

const (
	// lossMessage is what a process logs when its lease session is gone.
	lossMessage = "no lease session; nothing is sent until there is one"
	// endedMessage is what one logs that has ended the session of another, and silenceReason why.
	endedMessage  = "ended the lease session of a process"
	silenceReason = "no heartbeat for"
	// lossToldAfter is how long after the loss that may be: deliveries end first, and the session is closed.
	lossToldAfter = 4 * time.Second
	// aftermath is how long after a fault a loss may still be its consequence.
	aftermath = 15 * time.Second
)

// around says whether something at that moment may be of the incident's doing.
func (i *incident) around(at time.Time) bool {
	return !at.Before(i.at) && at.Before(i.end.Add(aftermath))
}

// noteOwnLosses makes incidents of lease sessions that processes lost without a fault, as happens where they or the database
// get no processor for seconds. They cost what any loss costs, and are counted apart.
func (r *rig) noteOwnLosses() (count int) {
	for _, s := range r.started {
		for line := range strings.Lines(s.Log()) {
			var entry struct {
				Time time.Time
				Msg  string
			}
			if !strings.Contains(line, lossMessage) || json.Unmarshal([]byte(line), &entry) != nil || r.explained(s.Name, entry.Time) {
				continue
			}
			at := entry.Time.Add(-lossToldAfter)
			r.incidents = append(r.incidents, &incident{process: s.Name, at: at, lost: entry.Time, end: entry.Time})
			count++
		}
	}
	slices.SortStableFunc(r.incidents, func(a, b *incident) int { return a.at.Compare(b.at) })
	return count
}

// judgeEnded complains of processes that ended the session of another one for its silence although nothing had been done to
// any: what that costs would pass for what a fault may cost.
func (r *rig) judgeEnded(j *judgement) {
	for _, s := range r.started {
		for line := range strings.Lines(s.Log()) {
			var entry struct{ Time time.Time }
			if !strings.Contains(line, endedMessage) || !strings.Contains(line, silenceReason) || json.Unmarshal([]byte(line), &entry) != nil {
				continue
			}
			if !slices.ContainsFunc(r.incidents, func(i *incident) bool { return i.around(entry.Time) }) {
				j.complain("ended a session without a cause", "%s: %s", s.Name, line)
			}
		}
	}
}

func (r *rig) explained(process string, at time.Time) bool {
	return slices.ContainsFunc(r.incidents, func(i *incident) bool {
		return i.hits(process) && i.around(at)
	})
}
