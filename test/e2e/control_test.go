package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// scene is a cluster with one actor that every instance follows, and senders that hold them all.
type scene struct {
	*fleet.Cluster
	t     *testing.T
	ctx   context.Context
	world *fleet.World
	sent  int
}

func newScene(t *testing.T, instances, senders int) *scene {
	t.Helper()
	s := &scene{t: t, ctx: within(t), Cluster: newCluster(t, fediverse.Config{})}
	var err error
	if s.world, err = fleet.Seed(s.ctx, s.DB, s.Fedi, fleet.Seeding{Actors: 1, Instances: instances}); err != nil {
		t.Fatal(err)
	}
	s.start(senders)
	return s
}

func (s *scene) start(senders int) {
	s.t.Helper()
	if _, err := s.Start(s.ctx, senders); err != nil {
		s.t.Fatal(err)
	}
	if err := s.WaitHeld(s.ctx, 0); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends all senders in order.
func (s *scene) stop() {
	s.t.Helper()
	for _, sender := range s.Senders() {
		if err := sender.Stop(s.ctx); err != nil {
			s.t.Fatal(err)
		}
	}
}

// post inserts an activity for all followers and returns its id.
func (s *scene) post() string {
	s.t.Helper()
	s.sent++
	id := fmt.Sprintf("https://%s/activities/%d", fleet.Home, s.sent)
	insert(s.t, s.DB, s.world.Actors[0], id)
	return id
}

func (s *scene) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.DB.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatal(err)
	}
}

// arrived waits until an instance has accepted exactly these activities, whatever the order.
func (s *scene) arrived(domain string, ids ...string) {
	s.t.Helper()
	if err := s.Fedi.Ledger().WaitTaken(s.ctx, domain, ids...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) accepted(domain string) []string { return s.Fedi.Ledger().Taken(domain) }

// query reads one value.
func query[T any](s *scene, sql string, args ...any) T {
	s.t.Helper()
	var value T
	if err := s.DB.QueryRow(s.ctx, sql, args...).Scan(&value); err != nil {
		s.t.Fatal(err)
	}
	return value
}

// eventually waits for a condition of the database.
func (s *scene) eventually(what, sql string, args ...any) {
	s.t.Helper()
	err := fleet.Until(s.ctx, what, func() (ok bool, err error) {
		err = s.DB.QueryRow(s.ctx, sql, args...).Scan(&ok)
		return ok, err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition of the remote servers, for less than a handover lets deliveries take.
func (s *scene) until(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 6*time.Second)
	defer cancel()
	if err := fleet.Until(ctx, what, func() (bool, error) { return done(), nil }); err != nil {
		s.t.Fatal(err)
	}
}

// cursor is where an instance stands.
func (s *scene) cursor(domain string) int64 {
	return query[int64](s, `
		select last_successful_id
		from fedsender.queue_state q
		join fedsender.instance i on i.id = q.instance_id
		where domain = $1`, domain)
}

func TestPause_CursorStandsStillAndResumeDeliversTheRest(t *testing.T) {
	s := newScene(t, 3, 2)
	a, b := s.world.Instances[0], s.world.Instances[1]
	first := s.post()
	s.arrived(a, first)
	if err := s.WaitSettled(s.ctx); err != nil {
		t.Fatal(err)
	}
	stands := s.cursor(a)
	s.stop()
	s.exec(`select fedsender.pause($1)`, a)
	s.start(2)
	second, third := s.post(), s.post()
	s.arrived(b, first, second, third)
	s.eventually("the others have settled it", `
		select bool_and(last_successful_id = (select max(id) from fedsender.activity))
		from fedsender.queue_state q
		join fedsender.instance i on i.id = q.instance_id
		where domain <> $1`, a)
	if now := s.cursor(a); now != stands {
		t.Errorf("the cursor of the paused instance moved from %d to %d", stands, now)
	}
	s.arrived(a, first)
	s.exec(`select fedsender.resume($1)`, a)
	s.arrived(a, first, second, third)
}

func TestPause_IsObeyedByARunningSender(t *testing.T) {
	s := newScene(t, 2, 1)
	a, b := s.world.Instances[0], s.world.Instances[1]
	s.exec(`select fedsender.pause($1)`, a)
	missed := ""
	for missed == "" { // the first ones may be under way before the news arrives
		id := s.post()
		s.arrived(b, append(s.accepted(b), id)...)
		if !slices.Contains(s.accepted(a), id) {
			missed = id
		}
	}
	s.exec(`select fedsender.resume($1)`, a)
	s.arrived(a, s.accepted(b)...)
}

func TestBlock_NothingIsSentAndNothingIsLost(t *testing.T) {
	s := newScene(t, 3, 1)
	a, b := s.world.Instances[0], s.world.Instances[1]
	s.stop()
	s.exec(`insert into fedsender.domain_block (domain) values ($1)`, a)
	s.start(1)
	first := s.post()
	s.arrived(b, first)
	if got := s.accepted(a); len(got) != 0 {
		t.Fatalf("the blocked instance got %q", got)
	}
	if cursor := s.cursor(a); cursor != 0 {
		t.Errorf("its cursor moved to %d", cursor)
	}
	s.exec(`delete from fedsender.domain_block`)
	s.arrived(a, first)
}

func TestBlock_EndsWhenItExpires(t *testing.T) {
	s := newScene(t, 2, 1)
	a := s.world.Instances[0]
	s.stop()
	s.exec(`insert into fedsender.domain_block (domain, expires_at) values ($1, now() + interval '2 seconds')`, a)
	s.start(1)
	s.arrived(a, s.post())
}

func TestBlockAndPause_ThatARunningSenderIsToldOfEndByThemselves(t *testing.T) {
	s := newScene(t, 3, 1)
	a, b := s.world.Instances[0], s.world.Instances[1]
	s.exec(`insert into fedsender.domain_block (domain, expires_at) values ($1, now() + interval '2 seconds')`, a)
	s.exec(`select fedsender.pause($1, now() + interval '2 seconds')`, b)
	first := s.post()
	s.arrived(a, first)
	s.arrived(b, first)
}

func TestInstanceWithoutACursor_BeginsAtTheHorizon(t *testing.T) {
	s := newScene(t, 2, 1)
	s.stop()
	s.exec(`
		with made as (insert into fedsender.instance (domain) values ('restored.example') returning id)
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		select $1, 'https://restored.example/u', id, 'https://restored.example/u/inbox' from made`, s.world.Actors[0])
	s.exec(`delete from fedsender.queue_state q using fedsender.instance i where i.id = q.instance_id and i.domain = 'restored.example'`)
	s.start(1)
	s.arrived("restored.example", s.post())
}

func TestDeletedInstance_WhatIsOnItsWayIsCutOff(t *testing.T) {
	s := newScene(t, 2, 1)
	a := s.world.Instances[0]
	s.Fedi.Instance(a).SetAnswer(fediverse.Hang)
	s.post()
	first := func() []fediverse.Delivery { return s.Fedi.Ledger().Deliveries(a) }
	s.until("it is on its way", func() bool { return len(first()) > 0 })
	s.exec(`delete from fedsender.instance where domain = $1`, a)
	s.exec(`
		with made as (insert into fedsender.instance (domain, shared_inbox) values ($1, $2) returning id)
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox)
		select $3, 'https://' || $1 || '/u', id, $2, $2 from made`, a, fleet.SharedInbox(a), s.world.Actors[0])
	s.until("it is cut off", func() bool { return !first()[0].Ended.IsZero() })
	s.Fedi.Instance(a).SetAnswer(fediverse.OK)
	s.arrived(a, s.post())
}

func TestAllow_OnlyThoseOnTheListAreSentTo(t *testing.T) {
	s := newScene(t, 3, 1)
	a, b := s.world.Instances[0], s.world.Instances[1]
	s.stop()
	s.exec(`insert into fedsender.domain_allow (domain) values ($1)`, b)
	s.start(1)
	first := s.post()
	s.arrived(b, first)
	if got := s.accepted(a); len(got) != 0 {
		t.Fatalf("an instance that is not on the list got %q", got)
	}
	s.exec(`delete from fedsender.domain_allow`)
	s.arrived(a, first)
}

func TestReplay_SendsAgainAndSkipGivesUp(t *testing.T) {
	s := newScene(t, 2, 2)
	a := s.world.Instances[0]
	first := s.post()
	s.arrived(a, first)
	if err := s.WaitSettled(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.exec(`select fedsender.replay($1, now() - interval '1 hour')`, a)
	s.arrived(a, first, first)

	s.Fedi.Instance(a).SetAnswer(fediverse.Status(500))
	s.post()
	s.post()
	s.eventually("it fails", `select fail_count > 0 from fedsender.queue_state q join fedsender.instance i on i.id = q.instance_id where domain = $1`, a)
	s.exec(`select fedsender.skip_to_latest($1)`, a)
	s.Fedi.Instance(a).SetAnswer(fediverse.OK)
	last := s.post()
	s.exec(`select fedsender.retry_now($1)`, a)
	s.arrived(a, first, first, last)
}

func TestUnknownDomain_GetsTheActivityThatNamesIt(t *testing.T) {
	s := newScene(t, 2, 3)
	id := "https://home.example/activities/direct"
	s.exec(`
		insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
		values ($1, json_build_object('id', $1::text, 'type', 'Create'), $2, array['https://New.Example/inbox', 'https://bücher.example/in'])`,
		id, s.world.Actors[0])
	s.arrived("new.example", id)
	s.arrived("xn--bcher-kva.example", id)
	if n := query[int](s, `select count(*) from fedsender.instance where domain in ('new.example', 'xn--bcher-kva.example')`); n != 2 {
		t.Errorf("%d instances were made, want 2", n)
	}
}

func TestNewInstance_GetsWhatIsCommittedAfterItAndNothingOlder(t *testing.T) {
	s := newScene(t, 2, 1)
	s.stop()
	all := func(id string) {
		s.exec(`
			insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
			values ($1, json_build_object('id', $1::text, 'type', 'Create'), $2, true)`, id, s.world.Actors[0])
	}
	all("https://home.example/activities/older")
	s.exec(`insert into fedsender.instance (domain, shared_inbox) values ('fresh.example', 'https://fresh.example/inbox')`)
	all("https://home.example/activities/newer")
	s.start(1)
	s.arrived("fresh.example", "https://home.example/activities/newer")
	s.arrived(s.world.Instances[0], "https://home.example/activities/older", "https://home.example/activities/newer")
}

func TestUnfollow_DoesNotTakeBackWhatWasCommittedBefore(t *testing.T) {
	s := newScene(t, 2, 1)
	a := s.world.Instances[0]
	s.stop()
	before := s.post()
	s.exec(`delete from fedsender.follower where inbox like 'https://' || $1 || '/%'`, a)
	after := s.post()
	s.start(1)
	s.arrived(s.world.Instances[1], before, after)
	s.arrived(a, before)
}

func TestFollow_CountsForTheVeryNextActivity(t *testing.T) {
	s := newScene(t, 2, 2)
	for n := range 20 {
		domain := fmt.Sprintf("late-%d.example", n)
		s.exec(`
			with i as (insert into fedsender.instance (domain) values ($1) returning id)
			insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
			select $2, 'https://' || $1 || '/u', id, 'https://' || $1 || '/u/inbox' from i`, domain, s.world.Actors[0])
		id := s.post()
		s.arrived(domain, id)
	}
}

func TestDeadLetter_IsSentAgainWhenTheOperatorSaysSo(t *testing.T) {
	s := newScene(t, 2, 1)
	a := s.world.Instances[0]
	s.Fedi.Instance(a).SetAnswer(fediverse.Redirect(308, "https://10.0.0.1/inbox"))
	first := s.post()
	s.eventually("it is given up", `select count(*) = 1 from fedsender.dead_letter`)
	s.Fedi.Instance(a).SetAnswer(fediverse.OK)
	second := s.post()
	s.arrived(a, second)
	s.exec(`select fedsender.pause($1)`, a)
	s.exec(`select fedsender.retry_dead_letter(id) from fedsender.dead_letter`)
	s.exec(`update fedsender.activity set published_at = now() - interval '1 day'`)
	s.eventually("what nobody needs is pruned", `select deleted = 1 from fedsender.prune('1 hour')`)
	s.exec(`select fedsender.resume($1)`, a)
	s.arrived(a, first, second)
	s.eventually("nothing is left to do", `
		select not exists (select from fedsender.dead_letter) and not exists (select from fedsender.redelivery)`)
}
