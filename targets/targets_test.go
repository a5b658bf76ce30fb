package targets_test

import (
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/targets"
)

func TestTargets_FollowersWithOneInboxCountOnce(t *testing.T) {
	b := targets.NewBuilder()
	for range 3 {
		b.Follower(targets.Follower{ActorID: 7, InstanceID: 1, Inbox: "https://a.example/inbox", Shared: true})
		b.Follower(targets.Follower{ActorID: 7, InstanceID: 3, Inbox: "https://c.example/u/2"})
		b.Follower(targets.Follower{ActorID: 7, InstanceID: 3, Inbox: "https://c.example/u/1"})
		b.Follower(targets.Follower{ActorID: 8, InstanceID: 2, Inbox: "https://b.example/inbox", Shared: true})
	}
	x := b.Index()
	wantInboxes(t, ask(t, x, followersOf(7)),
		"1: https://a.example/inbox+", "3: https://c.example/u/1", "3: https://c.example/u/2")
	wantInboxes(t, ask(t, x, followersOf(9)))
	if s := x.Stats(); s.Pairs != 3 || s.Inboxes != 4 {
		t.Errorf("stats say %+v", s)
	}
}

func TestTargets_IsTheUnionOfAllThree(t *testing.T) {
	x := three()
	x.SetPair(7, 1, oneShared("https://a.example/inbox"))
	x.SetPair(7, 3, one("https://c.example/u/1"))
	x.SetPair(8, 3, one("https://c.example/u/2"))
	a := ask(t, x, targets.Query{
		ActivityID:   1,
		FollowersOf:  []int64{7, 8, 7},
		AllInstances: true,
		Inboxes: []string{"https://c.example/u/3", "https://c.example/u/1", "https://c.example/u/3",
			"https://d.example/inbox", "https://d.example/inbox", "mailto:me@d.example", "mailto:me@d.example"},
	})
	wantInboxes(t, a, "1: https://a.example/inbox+", "2: https://b.example/inbox+",
		"3: https://c.example/u/1", "3: https://c.example/u/2", "3: https://c.example/u/3")
	if want := []targets.Unknown{{Inbox: "https://d.example/inbox", Domain: "d.example"}}; !slices.Equal(a.unknown, want) {
		t.Errorf("unknown are %q", a.unknown)
	}
	if want := []targets.Bad{{Inbox: "mailto:me@d.example", Reason: `the inbox "mailto:me@d.example" is not an https URL`}}; !slices.Equal(a.bad, want) {
		t.Errorf("bad are %q", a.bad)
	}
}

func TestTargets_OwnInboxIsSharedIfAnyRowSaysSo(t *testing.T) {
	x := three()
	x.SetPair(7, 3, oneShared("https://c.example/inbox"))
	query := targets.Query{Inboxes: []string{"https://A.example:443/inbox", "https://a.example/inbox", "https://c.example/inbox", "https://b.example/u/1"}}
	wantInboxes(t, ask(t, x, query), "1: https://A.example:443/inbox", "1: https://a.example/inbox+",
		"2: https://b.example/u/1", "3: https://c.example/inbox+")
	x.SetPair(7, 3, one("https://c.example/inbox"))
	x.SetInstance(targets.Instance{ID: 1, Domain: "a.example"})
	x.SetPair(8, 2, oneShared("https://b.example/u/1"))
	wantInboxes(t, ask(t, x, query), "1: https://A.example:443/inbox", "1: https://a.example/inbox",
		"2: https://b.example/u/1+", "3: https://c.example/inbox")
	x.SetPair(8, 2, nil)
	x.AddTombstone(targets.Tombstone{ActorID: 8, InstanceID: 2, Inbox: "https://b.example/u/1", Shared: true, ThroughID: 5})
	wantInboxes(t, ask(t, x, targets.Query{Inboxes: []string{"https://b.example/u/1"}}), "2: https://b.example/u/1+")
}

func TestTargets_WhatLeftStillGetsWhatWasThereBefore(t *testing.T) {
	x := three()
	x.SetPair(7, 1, oneShared("https://a.example/inbox"))
	x.SetPair(7, 1, nil)
	x.AddTombstone(targets.Tombstone{ActorID: 7, InstanceID: 1, Inbox: "https://a.example/inbox", Shared: true, ThroughID: 100})
	x.AddTombstone(targets.Tombstone{ActorID: 7, InstanceID: 1, Inbox: "https://a.example/inbox", Shared: true, ThroughID: 90})
	x.AddTombstone(targets.Tombstone{ActorID: 7, InstanceID: 3, Inbox: "https://c.example/u/1", ThroughID: 101})
	at := func(id int64) answer { return ask(t, x, targets.Query{ActivityID: id, FollowersOf: []int64{7}}) }
	wantInboxes(t, at(100), "1: https://a.example/inbox+", "3: https://c.example/u/1")
	wantInboxes(t, at(101), "3: https://c.example/u/1")
	wantInboxes(t, at(102))
	x.PruneTombstones(100)
	wantInboxes(t, at(100), "3: https://c.example/u/1")
	x.PruneTombstones(101)
	wantInboxes(t, at(100))
	if s := x.Stats(); s.Inboxes != 2 || s.Tombstones != 0 {
		t.Errorf("stats say %+v", s)
	}
}

func TestTargets_AsksAboutAnInstanceOnceAndSkipsWhatIsNotWanted(t *testing.T) {
	x := three()
	x.SetPair(7, 1, one("https://a.example/u/1"))
	asked, named := map[int32]int{}, map[int32]int{}
	x.Targets(targets.Query{FollowersOf: []int64{7}, AllInstances: true},
		func(id int32) bool { asked[id]++; return id == 2 },
		func(id int32, _ []targets.Inbox) { named[id]++ })
	if len(asked) != 2 || asked[1] != 1 || asked[2] != 1 || len(named) != 1 || named[2] != 1 {
		t.Errorf("asked about %v, named %v", asked, named)
	}
}

func TestTargets_MayUseTheIndexFromBothFunctions(t *testing.T) {
	x := three()
	n := 0
	x.Targets(targets.Query{AllInstances: true},
		func(id int32) bool { x.PruneTombstones(1); return !x.Blocked(id, time.Time{}) },
		func(id int32, _ []targets.Inbox) {
			x.RemoveInstance(id)
			x.Targets(targets.Query{AllInstances: true}, nil, func(int32, []targets.Inbox) { n++ })
		})
	if n != 1 {
		t.Errorf("the inner questions named %d instances, want 1 and then none", n)
	}
}

func TestTargets_SlicesThatWereGivenOutNeverChange(t *testing.T) {
	x := targets.New()
	x.SetPair(7, 1, one("https://a.example/u"))
	var hands [][]targets.Inbox
	keep := func(_ int32, inboxes []targets.Inbox) { hands = append(hands, inboxes) }
	x.Targets(followersOf(7), nil, keep)
	x.SetPair(7, 1, oneShared("https://a.example/u"))
	x.Targets(followersOf(7), nil, keep)
	x.SetPair(7, 1, nil)
	// More than fill the place that it had.
	for actor := range int64(2000) {
		x.SetPair(actor, 2, one(personalInbox(2, int(actor))))
		x.SetPair(actor-1, 2, nil)
	}
	if len(hands) != 2 || word(hands[0][0]) != "https://a.example/u" || word(hands[1][0]) != "https://a.example/u+" {
		t.Errorf("they are %v", hands)
	}
	// Who appends to one gets a slice of his own.
	for i, inboxes := range hands {
		if cap(inboxes) != 1 {
			t.Errorf("slice %d has room for %d", i, cap(inboxes))
		}
	}
}

func TestTargets_BlockedInstanceIsStillATarget(t *testing.T) {
	x := three()
	x.SetLists(nil, []targets.ListEntry{{Domain: "a.example"}})
	wantInboxes(t, ask(t, x, targets.Query{AllInstances: true}), "1: https://a.example/inbox+", "2: https://b.example/inbox+")
}

func TestIndex_RemovedInstanceLeavesNothingBehind(t *testing.T) {
	x := three()
	for actor := range int64(20) {
		x.SetPair(actor, 1, []targets.Inbox{{URL: "https://a.example/inbox", Shared: true}, {URL: "https://a.example/u/1"}})
		x.SetPair(actor, 2, oneShared("https://b.example/inbox"))
	}
	x.AddTombstone(targets.Tombstone{ActorID: 1, InstanceID: 1, Inbox: "https://a.example/u/2", ThroughID: 1000})
	x.RemoveInstance(1, 1, 99)
	wantInboxes(t, ask(t, x, followersOf(1)), "2: https://b.example/inbox+")
	if s := x.Stats(); s.Instances != 2 || s.Pairs != 20 || s.Inboxes != 1 || s.Tombstones != 0 {
		t.Errorf("stats say %+v", s)
	}
	if _, ok := x.Instance(1); ok || x.Len() != 2 {
		t.Error("it is still an instance")
	}
	if _, ok := x.ByDomain("a.example"); ok {
		t.Error("it still has its domain")
	}
}

func TestIndex_BecomeForgetsWhatWasBefore(t *testing.T) {
	x := three()
	x.SetPair(7, 1, oneShared("https://a.example/inbox"))
	x.IDs()
	b := targets.NewBuilder()
	b.Instance(targets.Instance{ID: 9, Domain: "z.example", SharedInbox: "https://z.example/inbox"})
	b.Tombstone(targets.Tombstone{ActorID: 7, InstanceID: 9, Inbox: "https://z.example/u", ThroughID: 100})
	b.Lists(nil, []targets.ListEntry{{Domain: "z.example"}})
	x.Become(b.Index())
	wantInboxes(t, ask(t, x, targets.Query{ActivityID: 100, FollowersOf: []int64{7}, AllInstances: true}),
		"9: https://z.example/inbox+", "9: https://z.example/u")
	if !slices.Equal(x.IDs(), []int32{9}) || !x.Blocked(9, time.Time{}) {
		t.Errorf("ids are %v", x.IDs())
	}
}

func TestIndex_KeepsInstancesByIDAndByDomain(t *testing.T) {
	x := three()
	ids := x.IDs()
	x.SetInstance(targets.Instance{ID: -4, Domain: "Bücher.Example."})
	x.RemoveInstance(2)
	if !slices.Equal(ids, []int32{1, 2, 3}) || !slices.Equal(x.IDs(), []int32{-4, 1, 3}) {
		t.Errorf("ids were %v and are %v", ids, x.IDs())
	}
	seen := time.Unix(1e9, 0)
	x.SetInstance(targets.Instance{ID: 3, Domain: "d.example:8443", LastSeenAt: seen})
	if in, ok := x.Instance(3); !ok || in.Domain != "d.example:8443" || !in.LastSeenAt.Equal(seen) {
		t.Errorf("instance 3 is %+v", in)
	}
	for domain, want := range map[string]int32{
		"xn--bcher-kva.example": -4, "BÜCHER.example": -4, "A.example.": 1, "D.example:8443": 3,
		"c.example": 0, "d.example": 0, "b.example": 0, "": 0, "a.example/": 0,
	} {
		if id, ok := x.ByDomain(domain); id != want || ok != (want != 0) {
			t.Errorf("%q has %d, %v; want %d", domain, id, ok, want)
		}
	}
}

func TestIndex_TwoSpellingsOfADomainGoToTheLowestID(t *testing.T) {
	x := targets.New()
	x.SetInstance(targets.Instance{ID: 5, Domain: "bücher.example"})
	x.SetInstance(targets.Instance{ID: 2, Domain: "xn--bcher-kva.example"})
	x.SetInstance(targets.Instance{ID: 7, Domain: "bücher.example."})
	holder := func() int32 { id, _ := x.ByDomain("bücher.example"); return id }
	if holder() != 2 {
		t.Errorf("%d has it", holder())
	}
	x.SetInstance(targets.Instance{ID: 2, Domain: "other.example"})
	if holder() != 5 {
		t.Errorf("after a new name %d has it", holder())
	}
	x.RemoveInstance(5)
	if holder() != 7 {
		t.Errorf("after a removal %d has it", holder())
	}
}

func TestIndex_OddInboxesAreTargetsToo(t *testing.T) {
	x := three()
	x.SetPair(7, 3, []targets.Inbox{{URL: ""}, {URL: "javascript:alert(1)", Shared: true}})
	wantInboxes(t, ask(t, x, followersOf(7)), "3: ", "3: javascript:alert(1)+")
	x.SetPair(7, 3, nil)
	if s := x.Stats(); s.Inboxes != 2 {
		t.Errorf("stats say %+v", s)
	}
}

func TestBlocked_AllowListWinsWhileAnyOfItCounts(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	x := targets.New()
	for id, domain := range []string{"a.example", "sub.a.example", "a.example:8443", "bücher.example"} {
		x.SetInstance(targets.Instance{ID: int32(id), Domain: domain})
	}
	for name, c := range map[string]struct {
		allow, block []targets.ListEntry
		blocked      []int32
		next         time.Time
	}{
		"nothing":          {},
		"block":            {block: []targets.ListEntry{{Domain: "A.Example."}}, blocked: []int32{0}},
		"block of a port":  {block: []targets.ListEntry{{Domain: "a.example:8443"}}, blocked: []int32{2}},
		"block of IDN":     {block: []targets.ListEntry{{Domain: "xn--bcher-kva.example"}}, blocked: []int32{3}},
		"block that ends":  {block: []targets.ListEntry{{"a.example", in(1)}, {"sub.a.example", in(2)}}, blocked: []int32{0, 1}, next: in(1)},
		"block that ended": {block: []targets.ListEntry{{"a.example", in(0)}, {"sub.a.example", in(-1)}}},
		"the longest of two counts": {block: []targets.ListEntry{{"a.example", in(9)}, {"A.example", in(-1)}, {"sub.a.example", in(-1)}, {"Sub.a.example", time.Time{}}},
			blocked: []int32{0, 1}, next: in(9)},
		"allow": {allow: []targets.ListEntry{{"a.example", time.Time{}}}, block: []targets.ListEntry{{"a.example", in(3)}},
			blocked: []int32{1, 2, 3}, next: in(3)},
		"allow of which a part ended": {allow: []targets.ListEntry{{"a.example", in(-5)}, {"sub.a.example", in(5)}}, blocked: []int32{0, 2, 3}, next: in(5)},
		"allow that ended":            {allow: []targets.ListEntry{{"a.example", in(-5)}}, block: []targets.ListEntry{{"a.example", time.Time{}}}, blocked: []int32{0}},
		"allow of nobody known":       {allow: []targets.ListEntry{{"z.example", time.Time{}}}, blocked: []int32{0, 1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			x.SetLists(c.allow, c.block)
			var blocked []int32
			for _, id := range x.IDs() {
				if x.Blocked(id, now) {
					blocked = append(blocked, id)
				}
			}
			if !slices.Equal(blocked, c.blocked) {
				t.Errorf("%v are blocked, want %v", blocked, c.blocked)
			}
			if next := x.NextExpiry(now); !next.Equal(c.next) {
				t.Errorf("the next expiry is %v, want %v", next, c.next)
			}
		})
	}
	if !x.Blocked(99, now) {
		t.Error("an instance that nobody knows is free")
	}
}
