package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/bubble"
)

// weigh publishes weights as the first process would.
func (v *server) weigh(version int64, heavy ...int32) {
	v.set(func() {
		v.weights = lease.Weights{Version: version, Light: 10}
		for _, id := range heavy {
			v.weights.Heavy = append(v.weights.Heavy, lease.Heavy{ID: id, Weight: 1000, Home: -1})
		}
	})
}

func (v *server) moves() (n int) {
	v.set(func() {
		for _, s := range v.sessions {
			n += s.moves
		}
	})
	return n
}

func TestKeeper_WeightsReachEveryProcessAndNothingIsWithoutAHolder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(1200)
		for i := range 4 {
			v.start(t, fmt.Sprint("p", i))
		}
		pass(5 * time.Second)
		v.weigh(7, 1, 2, 3, 4, 5, 6, 7, 8)
		v.sessions[2].keeper.Adopt(7)
		pass(2 * time.Second)
		heavy := map[*session]int{}
		v.set(func() {
			if len(v.locks) != 1200 {
				t.Errorf("%d of 1200 are held", len(v.locks))
			}
			for id := range int32(8) {
				heavy[v.locks[id+1]]++
			}
		})
		for _, s := range v.sessions {
			if got := s.keeper.Status().Weights; got != 7 || heavy[s] != 2 {
				t.Errorf("%s plans with version %d and holds %d of 8 heavy ones", s.id, got, heavy[s])
			}
		}
		moved := v.moves()
		v.set(func() { v.reads = 0 })
		pass(2 * time.Minute)
		if v.moves() != moved || v.reads > 0 {
			t.Errorf("afterwards %d moved, and the weights were read %d times", v.moves()-moved, v.reads)
		}
		v.start(t, "p4")
		pass(10 * time.Second)
		if got := v.sessions[4].keeper.Status().Weights; got != 7 {
			t.Errorf("who came later plans with version %d", got)
		}
		v.finish(t)
	})
}

func TestKeeper_WeightsThatCantBeReadChangeNothingUntilTheyCan(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		var broken atomic.Bool
		var asked atomic.Int64
		broken.Store(true)
		a := v.start(t, "a", func(c *lease.Config) {
			read := c.Weights
			c.Weights = func(ctx context.Context) (*lease.Weights, error) {
				if broken.Load() {
					asked.Add(1)
					<-ctx.Done()
					return nil, errors.New("the table is locked")
				}
				return read(ctx)
			}
		})
		v.start(t, "b")
		v.weigh(3, 1, 2)
		pass(20 * time.Second)
		if !a.keeper.Valid() {
			t.Error("the heartbeat waited for the weights")
		}
		if n := asked.Load(); n < 5 || n > 11 {
			t.Errorf("asked %d times in 20 s", n)
		}
		v.fair(t)
		broken.Store(false)
		pass(3 * time.Second)
		if got := a.keeper.Status().Weights; got != 3 {
			t.Errorf("plans with version %d", got)
		}
		v.finish(t)
	})
}

func TestWeights_WhatNobodyCanDealOutIsUnfit(t *testing.T) {
	for says, bad := range map[string]lease.Weights{
		"instance 1 can't weigh 9223372036854775807":         {Heavy: []lease.Heavy{{ID: 1, Weight: math.MaxInt64}}},
		"instance 2 can't weigh -1":                          {Heavy: []lease.Heavy{{ID: 2, Weight: -1}}},
		"an instance can't weigh -5":                         {Light: -5},
		"instance 1 has two weights":                         {Heavy: []lease.Heavy{{ID: 1, Weight: 5}, {ID: 1, Weight: 5}}},
		`process "a" can't do 0 % of what a usual one can`:   {Processes: []lease.Capacity{{ID: "a"}}},
		`process "b" can't do 101 % of what a usual one can`: {Processes: []lease.Capacity{{ID: "b", Percent: 101}}},
	} {
		if err := bad.Check(); err == nil || err.Error() != says {
			t.Errorf("says %v, not %s", err, says)
		}
	}
	fit := lease.Weights{Light: 10, Heavy: []lease.Heavy{{ID: 1, Weight: 5000, Home: -1}}, Processes: []lease.Capacity{{ID: "a", Percent: 100}}}
	if err := errors.Join(fit.Check(), new(lease.Weights).Check()); err != nil {
		t.Error(err)
	}
}

func TestKeeper_PlansWithNoWeightsThatItCouldNotShow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(100)
		v.weigh(5, 1)
		a := v.start(t, "a")
		v.set(func() { a.showErr = errors.New("the server is slow") })
		pass(5 * time.Second)
		if got := a.keeper.Status().Weights; got != 0 || v.held(a) != 100 {
			t.Errorf("plans with version %d and holds %d", got, v.held(a))
		}
		v.set(func() { a.showErr = nil })
		pass(3 * time.Second)
		if got := a.keeper.Status().Weights; got != 5 {
			t.Errorf("later it plans with version %d", got)
		}
		v.finish(t)
	})
}

func TestKeeper_LimitIsKnownToAllAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newServer(3000)
		v.start(t, "b")
		v.start(t, "c")
		pass(5 * time.Second)
		small := v.start(t, "small", func(c *lease.Config) { c.MaxLeases = 400 })
		for range 80 {
			pass(100 * time.Millisecond)
			v.set(func() {
				if len(v.locks) < 2600 {
					t.Errorf("%d of 3000 are held", len(v.locks))
				}
			})
		}
		if n := v.held(small); n < 390 || n > 400 {
			t.Errorf("the small one holds %d", n)
		}
		if v.moves() > 440 {
			t.Errorf("%d moved for a process that takes 400", v.moves())
		}
		v.finish(t)
	})
}
