package lemmy_test

import (
	"slices"
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

// targets are what is expected of one activity, in words.
func targets(rows *lemmy.Rows, id int64) []string {
	var found []string
	for _, target := range rows.Expected()[id] {
		found = append(found, target.Inbox)
	}
	slices.Sort(found)
	return found
}

func TestExpected_FollowsTheRules(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		b, err := s.InstanceWithoutSite(s.ctx, "b.example")
		ok(t, err)
		for _, name := range []string{"eve", "joe"} {
			fan, err := s.LoneFan(s.ctx, b, "b.example", name)
			ok(t, err)
			ok(t, s.Follow(s.ctx, fan, s.community.ID, name == "joe"))
		}
		ok(t, s.Follow(s.ctx, s.person.ID, s.community.ID, false))
		followers, err := s.Send(s.ctx, lemmy.Activity{Name: "1", Actor: s.community, FollowersOf: s.community})
		ok(t, err)
		all, err := s.Send(s.ctx, lemmy.Activity{Name: "2", Actor: s.Site, AllInstances: true})
		ok(t, err)
		direct, err := s.Send(s.ctx, lemmy.Activity{Name: "3", Actor: s.person, Inboxes: []string{
			"https://b.example/u/eve/inbox", "https://sub.b.example/inbox", "https://elsewhere.example/inbox"}})
		ok(t, err)
		both, err := s.Send(s.ctx, lemmy.Activity{Name: "4", Actor: s.community, FollowersOf: s.community, AllInstances: true,
			Inboxes: []string{"https://a.example/inbox"}})
		ok(t, err)
		lone := []string{"https://b.example/u/eve/inbox", "https://b.example/u/joe/inbox"}
		want := map[int64][]string{
			followers: append([]string{"https://a.example/inbox"}, lone...),
			all:       {"https://a.example/inbox"},
			direct:    {"https://b.example/u/eve/inbox"},
			both:      append([]string{"https://a.example/inbox"}, lone...),
		}
		check := func(when string) {
			t.Helper()
			rows, err := s.Read(s.ctx)
			ok(t, err)
			for id, inboxes := range want {
				if got := targets(rows, id); !slices.Equal(got, inboxes) {
					t.Errorf("%s: activity %d is expected at %q, want %q", when, id, got, inboxes)
				}
			}
		}
		check("as it is")
		ok(t, s.Block(s.ctx, b))
		want[followers], want[direct], want[both] = want[all], nil, want[all]
		check("b blocked")
		ok(t, s.Allow(s.ctx, b))
		want = map[int64][]string{followers: lone, direct: {"https://b.example/u/eve/inbox"}, both: lone, all: nil}
		check("b allowed and blocked")
		ok(t, s.Exec(s.ctx, `update instance set {updated} = now() - interval '73 hours' where id = $1`, b))
		want = map[int64][]string{followers: nil, direct: nil, both: nil, all: nil}
		check("b dead")
	})
}

func TestExpected_APrivateCommunityHasOnlyAcceptedFollowers(t *testing.T) {
	t.Parallel()
	s := newScene(t, lemmy.V10)
	a, err := s.Instance(s.ctx, "a.example")
	ok(t, err)
	private, err := s.PrivateCommunity(s.ctx, "secret")
	ok(t, err)
	fan, err := s.Fan(s.ctx, a, "a.example", "fan")
	ok(t, err)
	ok(t, s.Follow(s.ctx, fan, private.ID, true))
	id, err := s.Send(s.ctx, lemmy.Activity{Name: "1", Actor: private, FollowersOf: private})
	ok(t, err)
	for _, pending := range []bool{true, false} {
		ok(t, s.Follow(s.ctx, fan, private.ID, pending))
		rows, err := s.Read(s.ctx)
		ok(t, err)
		if got := len(targets(rows, id)); (got == 0) != pending {
			t.Errorf("pending %t: %d inboxes", pending, got)
		}
	}
}

func TestFill_MakesSoMuchAndEverythingIsForFollowers(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		size := lemmy.Size{Instances: 50, Communities: 10, Followers: 400, Activities: 1_000}
		ok(t, s.Fill(s.ctx, size))
		rows, err := s.Read(s.ctx)
		ok(t, err)
		if got := len(rows.Instances); got != size.Instances {
			t.Errorf("%d instances, want %d", got, size.Instances)
		}
		if got := len(rows.Activities); got != size.Activities {
			t.Errorf("%d activities, want %d", got, size.Activities)
		}
		if rows.Activities[0].ID < 1000 {
			t.Errorf("nothing was pruned before id %d", rows.Activities[0].ID)
		}
		if span := rows.Activities[len(rows.Activities)-1].ID - rows.Activities[0].ID + 1; int(span) <= size.Activities {
			t.Errorf("ids without gaps")
		}
		inboxes := map[string]bool{}
		for _, all := range rows.Expected() {
			for _, target := range all {
				inboxes[target.Inbox] = true
			}
		}
		if len(inboxes) < size.Instances/2 {
			t.Errorf("only %d inboxes get something", len(inboxes))
		}
		var followers int
		table := map[lemmy.Line]string{lemmy.V019: "community_follower", lemmy.V10: "community_actions"}[line]
		ok(t, s.DB.QueryRow(s.ctx, `select count(*) from `+table).Scan(&followers))
		if followers != size.Followers {
			t.Errorf("%d follows, want %d", followers, size.Followers)
		}
	})
}
