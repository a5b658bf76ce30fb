package targets_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fedsender/fedsender/targets"
)

type pair struct {
	actor    int64
	instance int32
}

// model is an index without any thought of time and memory.
type model struct {
	instances  map[int32]targets.Instance
	followers  map[pair][]targets.Inbox
	tombstones []targets.Tombstone
}

// rows are all inboxes that any row names, by instance.
func (m *model) rows(each func(instance int32, inbox targets.Inbox)) {
	for id, in := range m.instances {
		if in.SharedInbox != "" {
			each(id, targets.Inbox{URL: in.SharedInbox, Shared: true})
		}
	}
	for p, inboxes := range m.followers {
		for _, inbox := range inboxes {
			each(p.instance, inbox)
		}
	}
	for _, s := range m.tombstones {
		each(s.InstanceID, targets.Inbox{URL: s.Inbox, Shared: s.Shared})
	}
}

func (m *model) targets(q targets.Query) answer {
	known := make(map[int32]map[string]bool)
	m.rows(func(id int32, inbox targets.Inbox) {
		if known[id] == nil {
			known[id] = make(map[string]bool)
		}
		known[id][inbox.URL] = known[id][inbox.URL] || inbox.Shared
	})
	urls := make(map[int32]map[string]bool)
	add := func(id int32, url string) {
		if urls[id] == nil {
			urls[id] = make(map[string]bool)
		}
		urls[id][url] = true
	}
	a := answer{inboxes: make(map[int32][]string)}
	for _, url := range slices.Compact(slices.Sorted(slices.Values(q.Inboxes))) {
		domain, err := targets.DomainOf(url)
		if err != nil {
			a.bad = append(a.bad, targets.Bad{Inbox: url, Reason: err.Error()})
			continue
		}
		unknown := true
		for id, in := range m.instances {
			if in.Domain == domain {
				add(id, url)
				unknown = false
			}
		}
		if unknown {
			a.unknown = append(a.unknown, targets.Unknown{Inbox: url, Domain: domain})
		}
	}
	for _, actor := range q.FollowersOf {
		for p, inboxes := range m.followers {
			for _, inbox := range inboxes {
				if p.actor == actor {
					add(p.instance, inbox.URL)
				}
			}
		}
		for _, s := range m.tombstones {
			if s.ActorID == actor && q.ActivityID <= s.ThroughID {
				add(s.InstanceID, s.Inbox)
			}
		}
	}
	for id, in := range m.instances {
		if q.AllInstances && in.SharedInbox != "" {
			add(id, in.SharedInbox)
		}
	}
	for id, set := range urls {
		for _, url := range slices.Sorted(maps.Keys(set)) {
			a.inboxes[id] = append(a.inboxes[id], word(targets.Inbox{URL: url, Shared: known[id][url]}))
		}
	}
	return a
}

// builder has all rows of the model in any order.
func (m *model) builder(seed uint64) *targets.Builder {
	b := targets.NewBuilder()
	var steps []func()
	for _, in := range m.instances {
		steps = append(steps, func() { b.Instance(in) })
	}
	for p, inboxes := range m.followers {
		for _, inbox := range inboxes {
			steps = append(steps, func() {
				b.Follower(targets.Follower{ActorID: p.actor, InstanceID: p.instance, Inbox: inbox.URL, Shared: inbox.Shared})
			})
		}
	}
	for _, s := range m.tombstones {
		steps = append(steps, func() { b.Tombstone(s) })
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
	return b
}

func (m *model) wantStats() (pairs, inboxes int) {
	for _, of := range m.followers {
		if len(of) > 0 {
			pairs++
		}
	}
	distinct := make(map[string]bool)
	m.rows(func(id int32, inbox targets.Inbox) { distinct[fmt.Sprint(id, " ", inbox.URL)] = true })
	return pairs, len(distinct)
}

// kept are slices that Targets gave, and what was in them.
type kept struct {
	inboxes []targets.Inbox
	words   []string
}

func TestIndex_AnswersAsANaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := targets.New()
		m := &model{instances: make(map[int32]targets.Instance), followers: make(map[pair][]targets.Inbox)}
		var hands []kept
		instance, actor, activity := rapid.Int32Range(0, 4), rapid.Int64Range(0, 3), rapid.Int64Range(0, 8)
		inboxOn := func(id int32) *rapid.Generator[targets.Inbox] {
			return rapid.Custom(func(t *rapid.T) targets.Inbox {
				return targets.Inbox{URL: fmt.Sprintf("https://i%d.example/%d", id, rapid.IntRange(0, 3).Draw(t, "inbox")), Shared: rapid.Bool().Draw(t, "shared")}
			})
		}
		setPair := func(p pair, inboxes []targets.Inbox) {
			x.SetPair(p.actor, p.instance, inboxes)
			m.followers[p] = inboxes
		}
		drawPair := func(t *rapid.T) pair { return pair{actor.Draw(t, "actor"), instance.Draw(t, "instance")} }
		steps := 0
		check := func(t *rapid.T, q targets.Query) {
			got, want := ask(t, x, q), m.targets(q)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%+v:\n got %v\nwant %v", q, got, want)
			}
			question := targets.NewQuestion(q)
			for id := range int32(6) {
				if one := words(x.For(question, id)); !slices.Equal(one, want.inboxes[id]) {
					t.Fatalf("%+v for instance %d:\n got %v\nwant %v", q, id, one, want.inboxes[id])
				}
			}
			x.Targets(q, nil, func(_ int32, inboxes []targets.Inbox) { hands = append(hands, kept{inboxes, words(inboxes)}) })
		}
		t.Repeat(map[string]func(*rapid.T){
			"follow": func(t *rapid.T) {
				p := drawPair(t)
				setPair(p, rapid.SliceOfN(inboxOn(p.instance), 0, 4).Draw(t, "inboxes"))
			},
			// As many as fill pages, so that slots are used again.
			"follow by many": func(t *rapid.T) {
				p := drawPair(t)
				from, n := rapid.IntRange(0, 500).Draw(t, "from"), rapid.IntRange(1, 700).Draw(t, "n")
				inboxes := make([]targets.Inbox, n)
				for i := range inboxes {
					inboxes[i] = targets.Inbox{URL: fmt.Sprintf("https://i%d.example/%d", p.instance, from+i), Shared: i%7 == 0}
				}
				setPair(p, inboxes)
			},
			"unfollow": func(t *rapid.T) {
				p, through := drawPair(t), activity.Draw(t, "through")
				for _, inbox := range m.followers[p] {
					s := targets.Tombstone{ActorID: p.actor, InstanceID: p.instance, Inbox: inbox.URL, Shared: inbox.Shared, ThroughID: through}
					x.AddTombstone(s)
					m.tombstones = append(m.tombstones, s)
				}
				setPair(p, nil)
			},
			"prune": func(t *rapid.T) {
				through := activity.Draw(t, "through")
				x.PruneTombstones(through)
				// The model keeps a tombstone as long as a later one of the same inbox keeps it shared.
				last := make(map[string]int64)
				key := func(s targets.Tombstone) string { return fmt.Sprint(s.ActorID, s.InstanceID, s.Inbox) }
				for _, s := range m.tombstones {
					last[key(s)] = max(last[key(s)], s.ThroughID)
				}
				m.tombstones = slices.DeleteFunc(m.tombstones, func(s targets.Tombstone) bool { return last[key(s)] <= through })
			},
			"instance": func(t *rapid.T) {
				in := targets.Instance{ID: instance.Draw(t, "id")}
				in.Domain = fmt.Sprintf("i%d.example", in.ID)
				if rapid.Bool().Draw(t, "has shared inbox") {
					in.SharedInbox = inboxOn(in.ID).Draw(t, "shared inbox").URL
				}
				x.SetInstance(in)
				m.instances[in.ID] = in
			},
			"remove instances": func(t *rapid.T) {
				ids := rapid.SliceOfN(instance, 1, 2).Draw(t, "ids")
				x.RemoveInstance(ids...)
				for _, id := range ids {
					delete(m.instances, id)
				}
				maps.DeleteFunc(m.followers, func(p pair, _ []targets.Inbox) bool { return slices.Contains(ids, p.instance) })
				m.tombstones = slices.DeleteFunc(m.tombstones, func(s targets.Tombstone) bool { return slices.Contains(ids, s.InstanceID) })
			},
			"load again": func(t *rapid.T) { x.Become(m.builder(rapid.Uint64().Draw(t, "order")).Index()) },
			"query": func(t *rapid.T) {
				q := targets.Query{
					ActivityID:   activity.Draw(t, "activity"),
					FollowersOf:  rapid.SliceOfN(actor, 0, 3).Draw(t, "followers of"),
					AllInstances: rapid.Bool().Draw(t, "all instances"),
				}
				for range rapid.IntRange(0, 3).Draw(t, "inboxes") {
					q.Inboxes = append(q.Inboxes, rapid.OneOf(
						rapid.Map(inboxOn(instance.Draw(t, "on")), func(inbox targets.Inbox) string { return inbox.URL }),
						rapid.SampledFrom([]string{"https://i1.example/new", "https://i1.example/-", "javascript:", ""})).Draw(t, "inbox"))
				}
				check(t, q)
			},
			"": func(t *rapid.T) {
				steps++
				check(t, targets.Query{ActivityID: int64(steps % 9), FollowersOf: []int64{int64(steps % 4)}})
				pairs, inboxes := m.wantStats()
				if s := x.Stats(); s.Instances != len(m.instances) || s.Pairs != pairs || s.Inboxes != inboxes {
					t.Fatalf("stats say %+v, want %d instances, %d pairs, %d inboxes", s, len(m.instances), pairs, inboxes)
				}
				if want := slices.Sorted(maps.Keys(m.instances)); !slices.Equal(x.IDs(), want) {
					t.Fatalf("ids are %v, want %v", x.IDs(), want)
				}
			},
		})
		for _, k := range hands {
			if !slices.Equal(words(k.inboxes), k.words) {
				t.Fatalf("a slice that was given out has changed from %q to %q", k.words, words(k.inboxes))
			}
		}
	})
}

// TestIndex_ReadersSeeWholeAnswersWhileItChanges reads without pause while inboxes come and go.
func TestIndex_ReadersSeeWholeAnswersWhileItChanges(t *testing.T) {
	const instances, actors, rounds = 8, 6, 400
	x := targets.New()
	url := func(instance int32, n int) string { return fmt.Sprintf("https://i%d.example/%d", instance, n) }
	done := make(chan struct{})
	var readers sync.WaitGroup
	for reader := range 3 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				actor := int64((n + reader) % actors)
				q := targets.Query{FollowersOf: []int64{actor}, AllInstances: n%5 == 0, Inboxes: []string{url(int32(n%instances), n%50)}}
				x.Targets(q, nil, func(id int32, inboxes []targets.Inbox) {
					prefix := fmt.Sprintf("https://i%d.example/", id)
					for _, inbox := range inboxes {
						if len(inbox.URL) <= len(prefix) || inbox.URL[:len(prefix)] != prefix {
							t.Errorf("instance %d got inbox %q", id, inbox.URL)
						}
					}
					x.Blocked(id, time.Time{})
				})
				x.IDs()
				x.Stats()
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		id, actor := random.Int32N(instances), random.Int64N(actors)
		inboxes := make([]targets.Inbox, random.IntN(200))
		for i := range inboxes {
			inboxes[i] = targets.Inbox{URL: url(id, random.IntN(1000)), Shared: random.IntN(20) == 0}
		}
		x.SetPair(actor, id, inboxes)
		x.SetInstance(targets.Instance{ID: id, Domain: fmt.Sprintf("i%d.example", id), SharedInbox: url(id, random.IntN(3))})
		x.AddTombstone(targets.Tombstone{ActorID: actor, InstanceID: id, Inbox: url(id, random.IntN(1000)), ThroughID: 1})
		if random.IntN(20) == 0 {
			x.RemoveInstance(random.Int32N(instances))
			x.PruneTombstones(1)
		}
	}
	close(done)
	readers.Wait()
}
