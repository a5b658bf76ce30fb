package targets_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fedsender/fedsender/targets"
)

func TestFor_GivesWhatTargetsGivesForThatInstance(t *testing.T) {
	x := targets.New()
	for id := int32(1); id <= 6; id++ {
		in := targets.Instance{ID: id, Domain: fmt.Sprintf("i%d.example", id)}
		if id%2 == 0 {
			in.SharedInbox = fmt.Sprintf("https://i%d.example/inbox", id)
		}
		x.SetInstance(in)
	}
	personal := func(id int32, name string) targets.Inbox {
		return targets.Inbox{URL: fmt.Sprintf("https://i%d.example/u/%s", id, name)}
	}
	x.SetPair(7, 1, []targets.Inbox{personal(1, "ann"), personal(1, "bob")})
	x.SetPair(7, 2, []targets.Inbox{{URL: "https://i2.example/inbox", Shared: true}})
	x.SetPair(8, 1, []targets.Inbox{personal(1, "bob"), personal(1, "cy")})
	x.AddTombstone(targets.Tombstone{ActorID: 7, InstanceID: 3, Inbox: "https://i3.example/u/left", ThroughID: 50})
	for _, q := range []targets.Query{
		{ActivityID: 40, FollowersOf: []int64{7}},
		{ActivityID: 60, FollowersOf: []int64{7, 8}},
		{ActivityID: 60, AllInstances: true},
		{ActivityID: 50, FollowersOf: []int64{7}, AllInstances: true, Inboxes: []string{
			"https://i1.example/u/ann", "https://I5.example/u/new", "https://i2.example/inbox", "https://nobody.example/x", "nonsense",
		}},
	} {
		want := map[int32][]targets.Inbox{}
		x.Targets(q, nil, func(id int32, inboxes []targets.Inbox) { want[id] = inboxes })
		question := targets.NewQuestion(q)
		for id := int32(1); id <= 7; id++ {
			if got := x.For(question, id); !slices.Equal(got, want[id]) {
				t.Errorf("For(%+v, %d) = %v, Targets says %v", q, id, got, want[id])
			}
		}
	}
}

func TestAmong_GivesWhatTargetsGivesForThoseInstances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, most int) []int32 {
			ids := rapid.SliceOfNDistinct(rapid.Int32Range(1, 500), 0, most, rapid.ID[int32]).Draw(t, name)
			slices.Sort(ids)
			return ids
		}
		x := targets.New()
		for _, actor := range []int64{7, 8} {
			for _, id := range some("followers", 300) {
				inboxes := []targets.Inbox{{URL: fmt.Sprintf("https://i%d.example/inbox", id), Shared: true}}
				if id%5 == 0 {
					inboxes = append(inboxes, targets.Inbox{URL: fmt.Sprintf("https://i%d.example/u/%d", id, actor)})
				}
				x.SetPair(actor, id, inboxes)
			}
		}
		for _, id := range some("left", 5) {
			x.AddTombstone(targets.Tombstone{ActorID: 8, InstanceID: id, Inbox: fmt.Sprintf("https://i%d.example/u/left", id), ThroughID: 50})
		}
		q := targets.Query{ActivityID: 40, FollowersOf: rapid.SampledFrom([][]int64{{7}, {8}, {7, 8}, {9}}).Draw(t, "actors")}
		want := map[int32][]targets.Inbox{}
		x.Targets(q, nil, func(id int32, inboxes []targets.Inbox) { want[id] = inboxes })
		ids := some("ids", 300)
		last := -1
		x.Among(targets.NewQuestion(q), ids, func(i int, inboxes []targets.Inbox) {
			if i <= last {
				t.Fatalf("the %d. id after the %d.", i, last)
			}
			last = i
			if !slices.Equal(inboxes, want[ids[i]]) {
				t.Errorf("instance %d has %v, Targets says %v", ids[i], inboxes, want[ids[i]])
			}
			delete(want, ids[i])
		})
		for _, id := range ids {
			if left := want[id]; left != nil {
				t.Errorf("instance %d is left out: %v", id, left)
			}
		}
	})
}
