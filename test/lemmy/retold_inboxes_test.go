package lemmy_test

import (
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

// The tests of inboxes.rs; see retold_test.go.

// followerAt gives the community a follower on an instance, with an inbox of its own on whatever host.
func (s *scene) followerAt(instance int32, name, inbox string, community lemmy.Actor) {
	s.t.Helper()
	fan, err := s.LoneFan(s.ctx, instance, "example.com", name)
	ok(s.t, err)
	s.exec(`update person set inbox_url = $2 where id = $1`, fan, inbox)
	ok(s.t, s.Follow(s.ctx, fan, community.ID, false))
}

// exampleCom has a site with its inbox, and no followers.
func exampleCom(s *scene) (instance int32) {
	s.t.Helper()
	instance, err := s.Instance(s.ctx, "example.com")
	ok(s.t, err)
	s.exec(`update site set inbox_url = 'https://example.com/site_inbox' where instance_id = $1`, instance)
	s.begin(instance, 0)
	return instance
}

// test_get_inbox_urls_empty.
func TestRetold_GetInboxURLsEmpty(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.start(1)
		s.send(to())
		s.send(everywhere) // so that the cursor is written soon
		s.settled(example)
		s.tookAt("example.com", map[string]int{"/site_inbox": 1})
	})
}

// test_get_inbox_urls_send_all_instances.
func TestRetold_GetInboxURLsSendAllInstances(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.followerAt(example, "follower", "https://example.com/u/follower/inbox", s.community)
		s.start(1)
		s.send(by(s.Site), everywhere)
		s.settled(example)
		s.tookAt("example.com", map[string]int{"/site_inbox": 1})
	})
}

// test_get_inbox_urls_community_followers.
func TestRetold_GetInboxURLsCommunityFollowers(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.followerAt(example, "one", "https://follower1.example.com/inbox", s.community)
		s.followerAt(example, "two", "https://follower2.example.com/inbox", s.community)
		s.start(1)
		s.send()
		s.settled(example)
		s.tookAt("follower1.example.com", map[string]int{"/inbox": 1})
		s.tookAt("follower2.example.com", map[string]int{"/inbox": 1})
		s.tookAt("example.com", map[string]int{})
	})
}

// test_get_inbox_urls_send_inboxes.
func TestRetold_GetInboxURLsSendInboxes(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.start(1)
		s.send(by(s.person), to("https://example.com/user1/inbox", "https://example.com/user2/inbox", "https://other-domain.com/user3/inbox"))
		s.settled(example)
		s.tookAt("example.com", map[string]int{"/user1/inbox": 1, "/user2/inbox": 1})
		s.tookAt("other-domain.com", map[string]int{})
	})
}

// test_get_inbox_urls_combined.
func TestRetold_GetInboxURLsCombined(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.followerAt(example, "one", "https://follower.example.com/inbox", s.community)
		s.start(1)
		s.send(func(a *lemmy.Activity) {
			a.AllInstances, a.Inboxes = true, []string{"https://example.com/user1/inbox", "https://other-domain.com/user2/inbox"}
		})
		s.settled(example)
		s.tookAt("example.com", map[string]int{"/site_inbox": 1, "/user1/inbox": 1})
		s.tookAt("follower.example.com", map[string]int{"/inbox": 1})
		s.tookAt("other-domain.com", map[string]int{})
	})
}

// test_get_inbox_urls_no_duplicates.
func TestRetold_GetInboxURLsNoDuplicates(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		s.followerAt(example, "one", "https://example.com/site_inbox", s.community)
		s.start(1)
		s.send(func(a *lemmy.Activity) { a.AllInstances, a.Inboxes = true, []string{"https://example.com/site_inbox"} })
		s.settled(example)
		s.tookAt("example.com", map[string]int{"/site_inbox": 1})
	})
}

// test_update_communities: who follows another community while it runs counts from then on, and at once.
func TestRetold_UpdateCommunities(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		example := exampleCom(s)
		communities := []lemmy.Actor{s.community}
		for _, name := range []string{"second", "third"} {
			community, err := s.Community(s.ctx, name, lemmy.PKCS8)
			ok(t, err)
			communities = append(communities, community)
		}
		s.Introduce(s.fedi)
		s.followerAt(example, "one", "https://follower1.example.com/inbox", communities[0])
		s.followerAt(example, "two", "https://follower2.example.com/inbox", communities[1])
		s.start(1)
		all := func() {
			for _, community := range communities {
				s.send(by(community), func(a *lemmy.Activity) { a.FollowersOf = community })
			}
			s.settled(example)
		}
		all()
		s.followerAt(example, "three", "https://follower3.example.com/inbox", communities[2])
		all()
		s.tookAt("follower1.example.com", map[string]int{"/inbox": 2})
		s.tookAt("follower2.example.com", map[string]int{"/inbox": 2})
		s.tookAt("follower3.example.com", map[string]int{"/inbox": 1})
	})
}
