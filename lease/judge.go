package lease

import (
	"cmp"
	"slices"
	"time"
)

const (
	// baseLoad is what an instance weighs with which nothing happens: as much as a delivery each 100 s. It keeps the
	// numbers even where little is sent.
	baseLoad = 0.01
	// tolerance is how far a load may be above the fair share before anything moves; floor, in deliveries a second, what it
	// must be above that: the loads of a quiet fleet differ by chance.
	tolerance = 0.1
	floor     = 3
	// warmUp is how long loads are measured after a change of who has what, before anybody judges by them.
	warmUp = 15 * time.Second
	// staleAfter is more than two reports apart: a process that says nothing is not judged, and nobody against it.
	staleAfter = 12 * time.Second
	// gain is what new weights must better the load of the busiest by, as a part of a fair share.
	gain = 0.03
	// fruitlessFor is how long nobody looks again for better weights where there were none.
	fruitlessFor = 30 * time.Second
	// leastPatience and mostPatience are between two changes because of loads: longer each time that one follows another,
	// so that a load which comes and goes moves nothing in the end.
	leastPatience = 20 * time.Second
	mostPatience  = 10 * time.Minute
	// raisePatience is before a process that was slow is trusted with more: only with more to do can it be seen whether
	// that lasts, and where it does not, all that moved moves back. It doubles with each time that it did not. Who proved to
	// be able to do more gets the next step after provenPatience.
	raisePatience     = 5 * time.Minute
	provenPatience    = time.Minute
	mostRaisePatience = 2 * time.Hour
	// leastQuiet and mostQuiet are how long a fleet must have next to nothing to do before the loads of before are
	// forgotten: twice as long each time that a load came back, so that one which comes by bursts keeps its weights. A quiet
	// that lasted mostQuiet is one of its own.
	leastQuiet = time.Minute
	mostQuiet  = 2 * time.Hour
	// maxHeavy bounds the weights; what is lighter than so many others counts with the light ones.
	maxHeavy = 1000
)

// steps are the capacities that a process can have. A slower one than the last gets as much: with nothing to do it could
// not be seen to have recovered.
var steps = []int{100, 75, 50, 35, 25, 15, 10}

// Report is what a process says of itself.
type Report struct {
	ID     string
	Age    time.Duration // since it was written
	Leases int
	// Load is that of all its instances, in deliveries a second; a delivery under way all the time counts as one.
	Load float64
	// Speed is what it can do, in signatures a second; 0: it has made too few to tell.
	Speed float64
	// Heavy are its busiest instances.
	Heavy []Load
}

// Load is that of one instance, as in [Report].
type Load struct {
	ID   int32
	Load float64
}

// Judge decides when other weights should be planned with: when somebody carries more than its share and it can be
// helped, or a process became slow, or is no more. The first present process does that; should two do it at a time, one
// of them fails to write its version. The zero value is ready. It belongs to one goroutine.
type Judge struct {
	members   []string
	version   int64
	since     time.Time // the last change of members or version
	joined    time.Time // the last change of members
	over      int       // looks in a row that found somebody with too much
	fruitless time.Time // until then better weights are not looked for
	quiet     time.Time // since when the fleet has next to nothing to do; zero: it has
	wanted    map[string]int
}

// Look takes in one look at all processes at a time, by the clock that the times in the weights are of. It returns the
// next weights and true when all should plan with them. It looks each few seconds, and acts when two looks agree.
func (j *Judge) Look(plan *Plan, reports []Report, now time.Time) (Weights, bool) {
	j.notice(plan, now)
	w := plan.weights
	present, complete := presentReports(plan, reports)
	if !complete || now.Sub(j.joined) < warmUp {
		j.over, j.wanted, j.quiet = 0, nil, time.Time{}
		return Weights{}, false
	}
	over := overloaded(plan, present)
	processes, stepped := j.capacities(plan, present, over, now)
	if now.Sub(j.since) < warmUp {
		// Loads say little yet, speeds as much as ever: who turns out to be slower still need not wait.
		j.over, j.quiet = 0, time.Time{}
		next := *w
		next.Version, next.Processes = w.Version+1, processes
		return next, stepped && sameFleet(w, plan.members)
	}
	if slices.Contains(over, true) {
		j.over++
	} else {
		j.over = 0
	}
	forget := j.forgets(w, present, now)
	due := j.over >= 2 && !now.Before(w.MadeAt.Add(w.Patience)) && !now.Before(j.fruitless)
	if !stepped && !due && !forget {
		return Weights{}, false
	}
	next := propose(plan, present, processes)
	if !stepped && !forget && !betters(plan, &next) {
		j.fruitless = now.Add(fruitlessFor)
		return Weights{}, false
	}
	next.Version, next.MadeAt, next.Patience, next.Quiet = w.Version+1, now, leastPatience, w.Quiet
	if forget {
		next.Patience, next.Quiet = w.Patience, min(2*max(w.Quiet, leastQuiet), mostQuiet)
	} else if now.After(w.MadeAt.Add(mostQuiet)) && len(w.Heavy) == 0 {
		next.Quiet = 0
	}
	if due && sameFleet(w, plan.members) && now.Before(w.MadeAt.Add(4*w.Patience)) {
		next.Patience = min(2*w.Patience, mostPatience)
	}
	return next, true
}

// notice sees what changed since the last look.
func (j *Judge) notice(plan *Plan, now time.Time) {
	joined := !slices.Equal(plan.members, j.members)
	if joined {
		j.members, j.joined, j.wanted = plan.members, now, nil
	}
	if joined || plan.Version() != j.version {
		j.version, j.since = plan.Version(), now
		j.over, j.fruitless, j.quiet = 0, time.Time{}, time.Time{}
	}
}

// forgets says whether the weights are of a load that ended.
func (j *Judge) forgets(w *Weights, present []Report, now time.Time) bool {
	switch {
	case !isQuiet(present):
		j.quiet = time.Time{}
	case j.quiet.IsZero():
		j.quiet = now
	}
	return len(w.Heavy) > 0 && !j.quiet.IsZero() && now.Sub(j.quiet) >= min(max(w.Quiet, leastQuiet), mostQuiet)
}

// isQuiet says whether all together have less to do than one may have above its share: then numbers count, not loads.
func isQuiet(present []Report) bool {
	total := 0.0
	for _, r := range present {
		total += r.Load
	}
	return total < floor
}

// presentReports returns the report of each member, and whether there is a fresh one of each.
func presentReports(plan *Plan, reports []Report) (present []Report, complete bool) {
	for _, id := range plan.members {
		i := slices.IndexFunc(reports, func(r Report) bool { return r.ID == id && r.Age < staleAfter })
		if i < 0 {
			return nil, false
		}
		present = append(present, reports[i])
	}
	return present, len(present) > 1
}

func sameFleet(w *Weights, members []string) bool {
	return slices.EqualFunc(w.Processes, members, func(c Capacity, id string) bool { return c.ID == id })
}

// overloaded says who carries more than it should.
func overloaded(plan *Plan, present []Report) []bool {
	over := make([]bool, len(present))
	loads, percents := make([]float64, len(present)), make([]float64, len(present))
	total, capacity, heaviest := 0.0, 0.0, 0.0
	for i, r := range present {
		loads[i] = r.Load + baseLoad*float64(r.Leases)
		percents[i] = float64(plan.weights.percent(r.ID))
		total += loads[i]
		capacity += percents[i]
		for _, h := range r.Heavy {
			heaviest = max(heaviest, h.Load+baseLoad)
		}
	}
	for i, load := range loads {
		fair := total * percents[i] / capacity
		over[i] = load > max(fair*(1+tolerance), heaviest)+floor
	}
	return over
}

// propose makes weights of what the processes report. Whoever has a heavy instance keeps it if it fits.
func propose(plan *Plan, present []Report, processes []Capacity) Weights {
	w := Weights{Processes: processes}
	if isQuiet(present) {
		w.Light = weigh(0)
		return w
	}
	total := 0.0
	for _, r := range present {
		total += r.Load
		for _, h := range r.Heavy {
			if i, ok := slices.BinarySearch(plan.ids, h.ID); ok {
				w.Heavy = append(w.Heavy, Heavy{ID: h.ID, Weight: weigh(h.Load), Home: int(plan.owner[i])})
			}
		}
	}
	// An instance that changes hands may be in two reports.
	slices.SortFunc(w.Heavy, func(a, b Heavy) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(b.Weight, a.Weight)) })
	w.Heavy = slices.CompactFunc(w.Heavy, func(a, b Heavy) bool { return a.ID == b.ID })
	slices.SortFunc(w.Heavy, func(a, b Heavy) int { return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.ID, b.ID)) })
	w.Heavy = w.Heavy[:min(len(w.Heavy), maxHeavy)]
	for _, h := range w.Heavy {
		total -= float64(h.Weight-weigh(0)) / 1000
	}
	w.Light = weigh(max(0, total) / float64(max(1, len(plan.ids)-len(w.Heavy))))
	settled := assign(plan.ids, plan.fleet, &w)
	for i, h := range w.Heavy {
		at, _ := slices.BinarySearch(plan.ids, h.ID)
		w.Heavy[i].Home = int(settled.owner[at])
	}
	return w
}

func weigh(load float64) Weight { return Weight(min((load+baseLoad)*1000, float64(mostWeight))) }

// betters says whether the busiest process carries noticeably less by the new weights than it does as things are.
func betters(plan *Plan, w *Weights) bool {
	dealt := assign(plan.ids, plan.fleet, w)
	before, fair := busiest(&plan.assignment, w)
	after, _ := busiest(&dealt, w)
	return after < before-gain*fair
}

// busiest is the highest load for what its process can do, and what the load would be if it were even.
func busiest(a *assignment, w *Weights) (most, fair float64) {
	loads := make([]Weight, len(a.members))
	for _, m := range a.owner {
		loads[m] += w.light()
	}
	for _, h := range w.Heavy {
		if i, ok := slices.BinarySearch(a.ids, h.ID); ok {
			loads[a.owner[i]] += h.Weight - w.light()
		}
	}
	total, capacity := 0.0, 0.0
	for m, load := range loads {
		percent := float64(w.percent(a.members[m]))
		most = max(most, float64(load)/percent)
		total += float64(load)
		capacity += percent
	}
	return most, total / capacity
}
