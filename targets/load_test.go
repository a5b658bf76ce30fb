// The race detector changes what things cost.

//go:build !race

package targets_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/fedsender/fedsender/targets"
)

const (
	followers = 1_000_000
	instances = 30_000
	heapLimit = 200 << 20
)

// loads are the shapes that a million followers can have. Each is a function of the number of the follower.
var loads = []struct {
	name     string
	follower func(r *rand.Rand, i int) targets.Follower
}{
	{"all with shared inboxes", func(r *rand.Rand, _ int) targets.Follower {
		id := r.Int32N(instances)
		return targets.Follower{ActorID: r.Int64N(50_000), InstanceID: id, Inbox: sharedInbox(id), Shared: true}
	}},
	{"distinct personal inboxes", func(r *rand.Rand, i int) targets.Follower {
		id := r.Int32N(instances)
		return targets.Follower{ActorID: r.Int64N(50_000), InstanceID: id, Inbox: personalInbox(id, i)}
	}},
	{"distinct personal inboxes, an actor each", func(r *rand.Rand, i int) targets.Follower {
		id := r.Int32N(instances)
		return targets.Follower{ActorID: int64(i), InstanceID: id, Inbox: personalInbox(id, i)}
	}},
	{"one actor with all the followers", func(r *rand.Rand, i int) targets.Follower {
		id := r.Int32N(instances)
		return targets.Follower{ActorID: 1, InstanceID: id, Inbox: personalInbox(id, i)}
	}},
}

func build(follower func(*rand.Rand, int) targets.Follower) *targets.Index {
	r := rand.New(rand.NewPCG(1, 1))
	b := targets.NewBuilder()
	for id := range int32(instances) {
		b.Instance(targets.Instance{ID: id, Domain: fmt.Sprintf("instance-%05d.social.example", id), SharedInbox: sharedInbox(id)})
	}
	for i := range followers {
		b.Follower(follower(r, i))
	}
	return b.Index()
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestIndex_AMillionFollowersLoadInSecondsAndFitIn200MiB(t *testing.T) {
	if testing.Short() {
		t.Skip("builds 4 million followers")
	}
	for _, load := range loads {
		t.Run(load.name, func(t *testing.T) {
			before, start := heap(), time.Now()
			x := build(load.follower)
			took, used := time.Since(start), heap()-before
			s := x.Stats()
			t.Logf("%d pairs, %d inboxes: %.1f MiB (stats say %.1f), loaded in %v",
				s.Pairs, s.Inboxes, float64(used)/(1<<20), float64(s.Bytes)/(1<<20), took.Round(time.Millisecond))
			if used > heapLimit {
				t.Errorf("it takes %d MiB", used>>20)
			}
			if took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if ratio := float64(s.Bytes) / float64(used); ratio < 0.75 || ratio > 1.25 {
				t.Errorf("stats say %d bytes, it takes %d", s.Bytes, used)
			}
			runtime.KeepAlive(x)
		})
	}
}

func TestIndex_ChurnLeavesNoGarbage(t *testing.T) {
	const actors, each, rounds = 200, 50, 60
	x := targets.New()
	next := 0
	round := func() {
		for actor := range int64(actors) {
			inboxes := make([]targets.Inbox, each)
			for i := range inboxes {
				next++
				inboxes[i].URL = personalInbox(int32(actor), next)
			}
			x.SetPair(actor, int32(actor), inboxes)
			x.AddTombstone(targets.Tombstone{ActorID: actor, InstanceID: int32(actor), Inbox: inboxes[0].URL, ThroughID: int64(next)})
		}
		for actor := range int64(actors) {
			x.SetPair(actor, int32(actor), nil)
		}
		x.PruneTombstones(int64(next - actors*each))
	}
	// The first rounds find the size that churn needs.
	for range 20 {
		round()
	}
	before, stats := heap(), x.Stats().Bytes
	for range rounds {
		round()
	}
	grown := heap() - before
	if more := x.Stats().Bytes - stats; more > 64<<10 {
		t.Errorf("stats say that it grew by %d bytes", more)
	}
	t.Logf("%d inboxes came and went: the heap grew by %d KiB", rounds*actors*each, grown>>10)
	if grown > 512<<10 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	runtime.KeepAlive(x)
}

func BenchmarkLoad(b *testing.B) {
	for _, load := range loads {
		b.Run(load.name, func(b *testing.B) {
			var used int64
			for b.Loop() {
				b.StopTimer()
				before := heap()
				b.StartTimer()
				x := build(load.follower)
				b.StopTimer()
				used = heap() - before
				runtime.KeepAlive(x)
				b.StartTimer()
			}
			b.ReportMetric(float64(used)/(1<<20), "MiB")
		})
	}
}

func BenchmarkTargets(b *testing.B) {
	shared, personal := build(loads[0].follower), build(loads[1].follower)
	for id := range int32(instances) {
		shared.SetPair(-1, id, oneShared(sharedInbox(id)))
		if id%1000 == 0 {
			shared.SetPair(-2, id, oneShared(sharedInbox(id)))
		}
	}
	inbox := []string{sharedInbox(77)}
	for _, c := range []struct {
		name  string
		index *targets.Index
		query targets.Query
		want  func(int32) bool
	}{
		{"one inbox", shared, targets.Query{Inboxes: inbox}, nil},
		{"one inbox that is not wanted", shared, targets.Query{Inboxes: inbox}, func(int32) bool { return false }},
		{"followers on 30 instances", shared, targets.Query{FollowersOf: []int64{-2}}, nil},
		{"followers on 30 instances and one inbox", shared, targets.Query{FollowersOf: []int64{-2}, Inboxes: inbox}, nil},
		{"20 personal inboxes", personal, targets.Query{FollowersOf: []int64{5}}, nil},
		{"followers on 30000 instances", shared, targets.Query{FollowersOf: []int64{-1}}, nil},
		{"all 30000 instances", shared, targets.Query{AllInstances: true}, nil},
		{"all 30000 instances, a quarter wanted", shared, targets.Query{AllInstances: true}, func(id int32) bool { return id%4 == 0 }},
		{"followers on and all 30000 instances", shared, targets.Query{FollowersOf: []int64{-1}, AllInstances: true}, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				c.index.Targets(c.query, c.want, func(int32, []targets.Inbox) { n++ })
			}
			b.ReportMetric(float64(n), "targets")
		})
	}
}

func BenchmarkChange(b *testing.B) {
	x := build(loads[0].follower)
	for id := range int32(instances) {
		x.SetPair(-1, id, oneShared(sharedInbox(id)))
	}
	one := oneShared("https://new.example/inbox")
	b.Run("follow and unfollow", func(b *testing.B) {
		for b.Loop() {
			x.SetPair(5, instances, one)
			x.SetPair(5, instances, nil)
		}
	})
	b.Run("follow and unfollow of an actor with 30000 pairs", func(b *testing.B) {
		for b.Loop() {
			x.SetPair(-1, -5, one)
			x.SetPair(-1, -5, nil)
		}
	})
	b.Run("last seen", func(b *testing.B) {
		in, _ := x.Instance(5)
		for b.Loop() {
			x.SetInstance(in)
		}
	})
	b.Run("remove an instance of 33 pairs", func(b *testing.B) {
		id := int32(0)
		for b.Loop() {
			x.RemoveInstance(id)
			id++
		}
	})
}
