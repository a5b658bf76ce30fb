package lease

import (
	"slices"
	"time"
)

// capacities are those of the members after this look, and whether one of them changed. A process is compared with the
// usual one of the fleet, the faster of two: a fleet that is slow as a whole has nobody who could do more. Who has too much
// to do is slow for that reason: it is judged when it has less, or when nobody can take anything from it.
func (j *Judge) capacities(plan *Plan, present []Report, over []bool, now time.Time) (processes []Capacity, stepped bool) {
	usual := usualSpeed(present)
	wanted := map[string]int{}
	for i, r := range present {
		c := plan.weights.capacity(r.ID)
		step := c.Percent
		if r.Speed > 0 && usual > 0 && (!over[i] || now.Before(j.fruitless)) {
			step = c.step(100*r.Speed/usual, now)
		}
		wanted[r.ID] = step
		before, seen := j.wanted[r.ID]
		switch {
		case !seen || step == c.Percent:
		case step < c.Percent && before < c.Percent:
			c.lower(max(step, before), now)
			stepped = true
		case step > c.Percent && before > c.Percent:
			c.raise(step, now)
			stepped = true
		}
		processes = append(processes, c)
	}
	j.wanted = wanted
	return processes, stepped
}

// usualSpeed is the median of the speeds that are known, of two the higher; 0 if there are not two.
func usualSpeed(present []Report) float64 {
	var speeds []float64
	for _, r := range present {
		if r.Speed > 0 {
			speeds = append(speeds, r.Speed)
		}
	}
	if len(speeds) < 2 {
		return 0
	}
	slices.Sort(speeds)
	return speeds[len(speeds)/2]
}

func (w *Weights) capacity(id string) Capacity {
	i := slices.IndexFunc(w.Processes, func(c Capacity) bool { return c.ID == id })
	if i < 0 {
		return Capacity{ID: id, Percent: steps[0], Patience: raisePatience}
	}
	return w.Processes[i]
}

// step is the capacity that a process should have whose speed is so many percent of the usual one. Between two steps it
// stays where it is.
func (c *Capacity) step(speed float64, now time.Time) int {
	at := max(0, slices.Index(steps, c.Percent))
	if speed < 0.7*float64(steps[at]) { // less is chance where machines are crowded
		for at+1 < len(steps) && speed*speed < float64(steps[at]*steps[at+1]) { // the nearest, by ratio
			at++
		}
		return steps[at]
	}
	if at > 0 && speed > 0.9*float64(steps[at-1]) && !now.Before(c.RaiseAt) {
		return steps[at-1]
	}
	return c.Percent
}

func (c *Capacity) lower(percent int, now time.Time) {
	if c.Raised && now.Before(c.RaiseAt) { // the raise was a mistake
		c.Patience = min(2*c.Patience, mostRaisePatience)
	} else {
		c.Patience = raisePatience
	}
	c.Percent, c.Raised, c.RaiseAt = percent, false, now.Add(c.Patience)
}

func (c *Capacity) raise(percent int, now time.Time) {
	if c.Raised { // the one before was right
		c.Patience = provenPatience
	}
	c.Percent, c.Raised, c.RaiseAt = percent, true, now.Add(c.Patience)
}
