package lemmy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// paths are the inboxes of an instance that have accepted something, each as often as it did.
func (s *scene) paths(domain string) map[string]int {
	found := map[string]int{}
	for _, d := range s.fedi.Ledger().Deliveries(domain) {
		if d.Accepted() {
			found[d.Path]++
		}
	}
	return found
}

// tookAt checks how often each inbox of an instance has accepted something.
func (s *scene) tookAt(domain string, want map[string]int) {
	s.t.Helper()
	if got := s.paths(domain); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("the inboxes of %s took %v, want %v", domain, got, want)
	}
}

func TestLemmy_Inboxes_AllInstancesMeansTheSiteAndNobodyWhereThereIsNone(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.exec(`update site set inbox_url = 'https://a.example/site_inbox' where instance_id = $1`, a)
		b, err := s.InstanceWithoutSite(s.ctx, "b.example")
		ok(t, err)
		s.begin(b, 0)
		s.start(1)
		s.send(everywhere)
		s.settled(a)
		s.settled(b)
		s.tookAt("a.example", map[string]int{"/site_inbox": 1})
		s.tookAt("b.example", map[string]int{})
	})
}

func TestLemmy_Inboxes_FollowersOnceEachInboxSharedOrPersonal(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.fan(a, "a.example", "another")
		s.loneFan(a, "a.example", "lone")
		other, err := s.Community(s.ctx, "other", lemmy.PKCS8)
		ok(t, err)
		stranger, err := s.LoneFan(s.ctx, a, "a.example", "of-another-community")
		ok(t, err)
		ok(t, s.Follow(s.ctx, stranger, other.ID, false))
		ok(t, s.Follow(s.ctx, s.person.ID, s.community.ID, false)) // local: nobody to send to
		s.start(1)
		s.send()
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/inbox": 1, "/u/lone/inbox": 1})
	})
}

func TestLemmy_Inboxes_FollowersOfARemoteCommunityAreNotOurs(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		remote, err := s.RemoteCommunity(s.ctx, a, "a.example", "theirs")
		ok(t, err)
		fan, err := s.Fan(s.ctx, a, "a.example", "reader")
		ok(t, err)
		ok(t, s.Follow(s.ctx, fan, remote, false))
		s.start(1)
		s.send(func(a *lemmy.Activity) { a.FollowersOf = lemmy.Actor{ID: remote} })
		s.settled(a)
		s.tookAt("a.example", map[string]int{})
	})
}

func TestLemmy_Inboxes_DirectOnesOfExactlyThatDomain(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, sub := s.remote("a.example"), s.remote("sub.a.example")
		s.start(1)
		s.send(by(s.person), to("https://a.example/u/eve/inbox", "https://a.example/u/eve/inbox", "https://sub.a.example/inbox", "https://nota.example/inbox"))
		s.settled(a)
		s.settled(sub)
		s.tookAt("a.example", map[string]int{"/u/eve/inbox": 1})
		s.tookAt("sub.a.example", map[string]int{"/inbox": 1})
		s.tookAt("nota.example", map[string]int{})
	})
}

func TestLemmy_Inboxes_OfAllKindsAreOneSet(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		s.send(func(a *lemmy.Activity) { a.AllInstances, a.Inboxes = true, []string{"https://a.example/inbox"} })
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/inbox": 1})
	})
}

func TestLemmy_Inboxes_APendingFollowCounts(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		waiting, err := s.LoneFan(s.ctx, a, "a.example", "waiting")
		ok(t, err)
		ok(t, s.Follow(s.ctx, waiting, s.community.ID, true))
		s.start(1)
		s.send()
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/inbox": 1, "/u/waiting/inbox": 1})
	})
}

// Lemmy 0.19 has no private communities.
func TestLemmy_Inboxes_OfAPrivateCommunityThoseOfAcceptedFollowersAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t, lemmy.V10)
	a := s.remote("a.example")
	private, err := s.PrivateCommunity(s.ctx, "secret")
	ok(t, err)
	s.Introduce(s.fedi)
	fans := map[string]int32{}
	for _, name := range []string{"accepted", "waiting"} {
		fans[name], err = s.LoneFan(s.ctx, a, "a.example", name)
		ok(t, err)
		ok(t, s.Follow(s.ctx, fans[name], private.ID, name == "waiting"))
	}
	s.start(1)
	secret := []change{by(private), func(a *lemmy.Activity) { a.FollowersOf = private }}
	s.send(secret...)
	s.settled(a)
	s.tookAt("a.example", map[string]int{"/u/accepted/inbox": 1})
	ok(t, s.Follow(s.ctx, fans["waiting"], private.ID, false)) // while it runs
	ok(t, s.Unfollow(s.ctx, fans["accepted"], private.ID))
	s.send(secret...)
	s.settled(a)
	s.tookAt("a.example", map[string]int{"/u/accepted/inbox": 1, "/u/waiting/inbox": 1})
}

func TestLemmy_Inboxes_WhoUnfollowsGetsNothingMore(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		lone, err := s.LoneFan(s.ctx, a, "a.example", "lone")
		ok(t, err)
		ok(t, s.Follow(s.ctx, lone, s.community.ID, false))
		s.start(1)
		s.send()
		s.settled(a)
		ok(t, s.Unfollow(s.ctx, lone, s.community.ID))
		s.send()
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/inbox": 2, "/u/lone/inbox": 1})
	})
}

func TestLemmy_Inboxes_AreThoseOfTheRulesOnAServerOfManyInstances(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		ok(t, s.Fill(s.ctx, lemmy.Size{Instances: 60, Communities: 12, Followers: 400, Activities: 300}))
		s.Introduce(s.fedi)
		s.exec(`update sent_activity set send_all_instances = id % 50 = 0, send_inboxes =
			case when id % 7 = 0 then array['https://i-00003.example/u/direct/inbox'] else '{}' end`)
		s.exec(`insert into federation_queue_state (instance_id, last_successful_id, fail_count) select id, 0, 0 from instance where domain <> $1`, lemmy.Home)
		s.exec(`insert into federation_blocklist (instance_id) select id from instance where domain like '%7.example'`)
		rows, err := s.Read(s.ctx)
		ok(t, err)
		expected, all := rows.Expected(), fediverse.Expected{}
		for _, a := range rows.Activities {
			ok(t, s.receiver.Expect(a))
			for _, target := range expected[a.ID] {
				all.Add(target.Inbox, a.APID)
			}
		}
		// A delivery that takes longer than a hand-over may is broken off and made again: they share first.
		s.exec(`update local_site set federation_enabled = false`)
		s.start(2)
		ok(t, s.cluster.WaitHeld(s.ctx, 2))
		s.exec(`update local_site set federation_enabled = true`)
		s.until("everything is settled", `
			select bool_and(last_successful_id = (select max(id) from sent_activity))
			from federation_queue_state
			where instance_id not in (select instance_id from federation_blocklist)`)
		s.halt()
		v := s.fedi.Ledger().Verdict(all, nil)
		if v.Lost+v.Unexpected+v.Twice > 0 || v.Delivered == 0 {
			t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
		}
	})
}
