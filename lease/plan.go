package lease

import (
	"context"
	"time"
)

// weightsTimeout bounds the wait for the weights within a heartbeat: with one that takes its full 2 s it is far below
// the term. Who does not get them plans with what it has and asks again.
const weightsTimeout = time.Second

// askAgainAfter is between two questions for weights that could not be read: meanwhile the heartbeat is what it should be,
// and the log is not flooded.
const askAgainAfter = beatEvery

// Plan is who should hold what at a moment, by the process that made it. It does not change.
type Plan struct {
	assignment
	fleet   []member
	weights *Weights
}

func newPlan(ids []int32, fleet []member, w *Weights) *Plan {
	return &Plan{assignment: assign(ids, fleet, w), fleet: fleet, weights: w}
}

// Version is that of the weights.
func (p *Plan) Version() int64 { return p.weights.Version }

// Members are the processes that share the instances, sorted.
func (p *Plan) Members() []string { return p.members }

// Plan returns what the last round planned; with no members before the first.
func (k *Keeper) Plan() *Plan { return k.current.Load() }

// Adopt tells that there are weights of this version, made by this process. The next round reads them and tells the
// others. It never blocks.
func (k *Keeper) Adopt(version int64) {
	k.newest.Store(version)
	k.Wake()
}

// learn reads the weights if somebody has newer ones, and says whether they changed. It does so before anything is
// planned, and shows it before anything is given up for it.
func (k *Keeper) learn(peers []Peer, rung bool) (changed bool) {
	if k.cfg.Weights == nil {
		return false
	}
	newest := k.newest.Load()
	for _, p := range peers {
		newest = max(newest, p.Weights)
	}
	if k.asked && newest <= k.weights.Version || k.last.Before(k.askAt) {
		return false
	}
	ctx, cancel := context.WithTimeout(k.term.ctx, weightsTimeout)
	defer cancel()
	w, err := k.cfg.Weights(ctx)
	if err != nil {
		k.askAt = k.last.Add(askAgainAfter)
		k.complain("could not read what instances weigh; planning with what was known", err)
		return false
	}
	if w.Version <= k.weights.Version {
		k.asked = true
		if w.Version < newest { // what somebody shows was lost
			k.askAt = k.last.Add(askAgainAfter)
		}
		return false
	}
	start := k.term.now()
	if err := k.cfg.Session.Show(k.term.ctx, w.Version); err != nil {
		k.complain("could not tell which weights this process plans with; the next round tries again", err)
		return false
	}
	k.term.extend(start)
	k.asked, k.weights = true, w
	if !rung || w.Version == k.newest.Load() {
		k.ring = true
	}
	return true
}
