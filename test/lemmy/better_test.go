package lemmy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

// What Lemmy's own sender gets wrong, case by case.

func TestLemmy_Better_AnIDThatIsNotVisibleYetIsWaitedFor(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(2)
		late := lemmy.Activity{Name: "late", Actor: s.community, FollowersOf: s.community}
		_, commit, err := s.SendLate(s.ctx, late)
		ok(t, err)
		newer := s.send()
		if got := s.cursor(a); got != 0 {
			t.Errorf("the cursor has passed an open transaction: %d", got)
		}
		ok(t, commit())
		s.arrived("a.example", lemmy.ActivityID("late"), newer)
		s.settled(a)
	})
}

func TestLemmy_Better_AnErrorWhileARowIsReadIsRetried(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		s.exec(`alter table sent_activity rename send_inboxes to send_inboxes_away`)
		s.exec(`
			insert into sent_activity (ap_id, data, sensitive, send_inboxes_away, send_community_followers_of, send_all_instances, actor_type, actor_apub_id)
			select $1, json_build_object('id', $1::text, 'actor', actor_apub_id), false, '{}', send_community_followers_of, false, actor_type, actor_apub_id
			from sent_activity
			order by id
			limit 1`, lemmy.ActivityID("unread"))
		s.says("run: sender migrate")
		s.exec(`alter table sent_activity rename send_inboxes_away to send_inboxes`)
		s.arrived("a.example", first, lemmy.ActivityID("unread"))
		s.settled(a)
	})
}

// says waits until a sender has logged a text.
func (s *scene) says(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	var log string
	err := fleet.Until(ctx, "a sender says "+text, func() (bool, error) {
		log = ""
		for _, sender := range s.cluster.Senders() {
			log += sender.Log()
		}
		return strings.Contains(log, text), nil
	})
	if err != nil {
		s.t.Fatalf("%v\n%s", err, log)
	}
}

// There is no name server that knows the name: what a domain that has expired looks like.
func TestLemmy_Better_ANameThatIsNotFoundIsRetriedAndIsNoSignOfLife(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("gone.invalid")
		s.exec(`update instance set {updated} = now() - interval '30 hours' where id = $1`, a)
		s.migrate()
		s.cluster.Adjust = func(o *fleet.Options) { o.ConnectTo = "" }
		s.start(1)
		s.send()
		s.until("it has failed", `select fail_count >= 2 from federation_queue_state where instance_id = $1`, a)
		if query[bool](s, `select {updated} > now() - interval '29 hours' from instance where id = $1`, a) {
			t.Error("it counts as alive")
		}
		s.exec(`update instance set {updated} = now() - interval '73 hours' where id = $1`, a) // two days later
		s.until("it is dead", `select state = 'dead' and next_retry_at > now() + interval '23 hours' from fedsender.instance_status where instance_id = $1`, a)
		s.halt()
		if got := s.cursor(a); got != 0 {
			t.Errorf("the cursor moved to %d", got)
		}
		if got := s.letters(); len(got) != 0 {
			t.Errorf("dead letters %q", got)
		}
	})
}

func TestLemmy_Better_APrivateAddressIsADeadLetterAndNoSignOfLife(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("127.0.0.1")
		s.exec(`update instance set {updated} = now() - interval '30 hours' where id = $1`, a)
		s.migrate()
		s.cluster.Adjust = func(o *fleet.Options) { o.ConnectTo = "" }
		s.start(1)
		s.send()
		s.settled(a)
		if got := s.letters(); len(got) != 1 || !strings.Contains(got[0], "127.0.0.1") {
			t.Errorf("dead letters %q, want one that names the address", got)
		}
		if query[bool](s, `select {updated} > now() - interval '29 hours' from instance where id = $1`, a) {
			t.Error("it counts as alive")
		}
	})
}

func TestLemmy_Better_SwitchedOffWhileRunningNothingIsConsumed(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		stands := s.cursor(a)
		s.exec(`update local_site set federation_enabled = false`)
		s.until("its state is blocked", `select state = 'blocked' from fedsender.instance_status where domain = 'a.example'`)
		second := s.send()
		s.until("it is read", `select horizon >= $1 from fedsender.feed`, s.newest())
		if got := s.cursor(a); got != stands && len(s.accepted("a.example")) == 1 {
			t.Errorf("the cursor moved from %d to %d and nothing was sent", stands, got)
		}
		s.exec(`update local_site set federation_enabled = true`)
		s.arrived("a.example", first, second)
		s.settled(a)
	})
}

func TestLemmy_Better_WithoutAnActorOrAKeyADeadLetterTellsWhy(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		for name, key := range map[string]string{"nokey": "", "badkey": "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n"} {
			_, err := s.Person(s.ctx, name, lemmy.PKCS8)
			ok(t, err)
			s.exec(`update person set private_key = nullif($2, '') where name = $1`, name, key)
		}
		s.Introduce(s.fedi)
		s.start(1)
		for _, name := range []string{"nokey", "badkey", "nobody"} {
			s.send(by(lemmy.Actor{Kind: "person", APID: "https://" + lemmy.Home + "/u/" + name}))
		}
		s.insert(lemmy.Activity{Name: "no-actor", Actor: lemmy.Actor{Kind: "person"}, FollowersOf: s.community,
			Data: fmt.Sprintf(`{"id":%q,"actor":%q}`, lemmy.ActivityID("no-actor"), s.person.APID)})
		s.exec(`update sent_activity set actor_apub_id = null where actor_apub_id = ''`)
		next := s.send()
		s.arrived("a.example", next)
		s.settled(a)
		reasons := s.letters()
		if len(reasons) != 4 {
			t.Fatalf("dead letters %q, want four", reasons)
		}
		if !strings.Contains(reasons[3], "names no actor") {
			t.Errorf("of the row without an actor it says %q", reasons[3])
		}
		for _, reason := range reasons {
			if strings.TrimSpace(reason) == "" {
				t.Errorf("a dead letter without a reason: %q", reasons)
			}
		}
	})
}

func TestLemmy_Better_AfterKillNothingIsLostAndLittleSentAgain(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.fedi.Instance("a.example").SetBehaviour(s.receiver.Behaviour(fediverse.Always(fediverse.Slow(20*time.Millisecond, fediverse.OK))))
		senders := s.start(1)
		var ids []string
		for range 150 {
			ids = append(ids, s.send())
		}
		ledger := s.fedi.Ledger()
		ok(t, ledger.WaitFor(s.ctx, func() bool { return ledger.Accepted("a.example") >= 50 }))
		senders[0].Kill()
		killed := time.Now()
		s.start(1)
		s.settled(a)
		s.halt()
		if first := len(ledger.FirstArrivals("a.example")); first != len(ids) {
			t.Errorf("%d of %d arrived", first, len(ids))
		}
		// The window of one instance, and what was delivered in the last second before.
		const window = 16
		lastSecond := 0
		for _, d := range ledger.Deliveries("a.example") {
			if d.Arrived.After(killed.Add(-time.Second)) && d.Arrived.Before(killed) {
				lastSecond++
			}
		}
		if twice := len(ledger.Duplicates("a.example")); twice > window+lastSecond {
			t.Errorf("%d were sent again, want at most the window and the last second: %d", twice, window+lastSecond)
		}
	})
}

func TestLemmy_Better_ProcessesThatAreStartedAlikeSendNothingTwice(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		var domains []string
		for n := range 12 {
			domains = append(domains, fmt.Sprintf("i-%02d.example", n))
			s.remote(domains[n])
		}
		s.start(3)
		var ids []string
		for range 30 {
			ids = append(ids, s.send())
		}
		for _, domain := range domains {
			s.arrived(domain, ids...)
		}
		s.halt()
		if overlaps := s.fedi.Ledger().Overlaps(""); len(overlaps) != 0 {
			t.Errorf("two processes sent to one instance at one time: %v", overlaps)
		}
	})
}

func TestLemmy_Better_WhatADeadProcessHeldIsPickedUp(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		var domains []string
		for n := range 8 {
			domains = append(domains, fmt.Sprintf("i-%02d.example", n))
			s.remote(domains[n])
		}
		senders := s.start(2)
		first := s.send()
		for _, domain := range domains {
			s.arrived(domain, first)
		}
		s.until("all is settled", `select bool_and(last_successful_id = $1) from federation_queue_state`, s.newest())
		senders[1].Kill()
		second := s.send()
		for _, domain := range domains {
			s.arrived(domain, first, second)
		}
	})
}

func TestLemmy_Better_OneBadInboxDoesNotStopItsInstance(t *testing.T) {
	for what, answer := range map[string]fediverse.Answer{
		"500": fediverse.Status(500), "302": fediverse.Redirect(302, "https://a.example/elsewhere"),
	} {
		t.Run(what, func(t *testing.T) {
			onBothLines(t, func(t *testing.T, line lemmy.Line) {
				s := newScene(t, line)
				a := s.remote("a.example")
				s.fedi.Instance("a.example").SetBehaviour(fediverse.PerInbox(func(path string) fediverse.Answer {
					if path == "/bad" {
						return answer
					}
					return fediverse.OK
				}))
				s.start(1)
				bad := s.send(to("https://a.example/bad"))
				good := s.send()
				s.arrived("a.example", good)
				s.until("it has failed", `select held::text like '%attempts%' from fedsender.source_queue_state where instance_id = $1`, a)
				s.halt()
				if got := s.cursor(a); got >= s.newest() {
					t.Errorf("the cursor has passed %s", bad)
				}
				// A quarter of an hour and seven tries later.
				s.exec(`
					update fedsender.instance_health
					set held = (
					  select jsonb_agg(h || '{"attempts": 8, "first_failed": "2020-01-01T00:00:00Z"}' ||
					    jsonb_build_object('tries', (
					      select jsonb_agg(t || '{"attempts": 8, "first_failed": "2020-01-01T00:00:00Z"}')
					      from jsonb_array_elements(coalesce(h -> 'tries', '[]')) t)))
					  from jsonb_array_elements(held) h)
					where instance_id = $1`, a)
				s.exec(`update federation_queue_state set {last_retry} = now() - interval '1 hour', fail_count = least(fail_count, 1)`)
				s.start(1)
				next := s.send()
				s.arrived("a.example", good, next)
				s.must("retry", "a.example") // others were taken since the last one
				s.settled(a)
				if got := s.letters(); len(got) != 1 {
					t.Errorf("dead letters %q, want one", got)
				}
			})
		})
	}
}

func TestLemmy_Better_RetryAfterIsHonoured(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		const pause = 3 * time.Second
		s.fedi.Instance("a.example").SetBehaviour(fediverse.First(1, fediverse.RetryAfter(429, pause), fediverse.Always(fediverse.OK)))
		s.start(1)
		s.arrived("a.example", s.send())
		all := s.fedi.Ledger().Deliveries("a.example")
		if len(all) != 2 || all[1].Arrived.Sub(all[0].Ended) < pause-100*time.Millisecond {
			t.Errorf("%v: want a second one after %s", all, pause)
		}
		s.settled(a)
		if n := query[int](s, `select fail_count from federation_queue_state where instance_id = $1`, a); n != 0 {
			t.Errorf("a request to wait was counted as %d failures", n)
		}
	})
}

func TestLemmy_Better_WhatIsCommittedIsSentAtOnce(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		var ids []string
		var slowest time.Duration
		for range 10 {
			begun := time.Now()
			ids = append(ids, s.send())
			s.arrived("a.example", ids...)
			s.settled(a) // it is idle again
			all := s.fedi.Ledger().Deliveries("a.example")
			slowest = max(slowest, all[len(all)-1].Arrived.Sub(begun))
		}
		t.Logf("the slowest of %d took %s from INSERT to POST", len(ids), slowest)
		if slowest > 10*time.Second { // Lemmy: 15 s on average
			t.Errorf("the slowest took %s", slowest)
		}
	})
}

func TestLemmy_Better_ADistantHostGetsMoreThanOneAtATime(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.fedi.Instance("a.example").SetBehaviour(s.receiver.Behaviour(fediverse.Always(fediverse.Slow(220*time.Millisecond, fediverse.OK))))
		var ids []string
		for range 100 {
			ids = append(ids, s.send())
		}
		s.start(1)
		s.settled(a)
		s.arrived("a.example", ids...)
		if most := atOnce(s.fedi.Ledger().Deliveries("a.example")); most < 4 {
			t.Errorf("at most %d were in flight at one time", most)
		}
	})
}

// atOnce is how many deliveries were open at one time.
func atOnce(all []fediverse.Delivery) (most int) {
	for _, d := range all {
		open := 0
		for _, other := range all {
			if !other.Arrived.After(d.Arrived) && other.Ended.After(d.Arrived) {
				open++
			}
		}
		most = max(most, open)
	}
	return most
}

func TestLemmy_Better_InOrderWhereItMatters(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.fedi.Instance("a.example").SetBehaviour(fediverse.Flaky(7, 0.1))
		const posts, edits = 12, 8
		want := fediverse.Expected{}
		for edit := range edits {
			for post := range posts {
				name := fmt.Sprintf("post-%d/%d", post, edit)
				id := lemmy.ActivityID(name)
				text := fmt.Sprintf(`{"actor":"%s","object":{"type":"Page","id":"https://%s/post/%d"},"type":"Update","id":"%s"}`, s.community.APID, lemmy.Home, post, id)
				s.insert(lemmy.Activity{Name: name, Actor: s.community, FollowersOf: s.community, Data: text})
				want.Add("https://a.example/inbox", id)
			}
		}
		s.start(1)
		s.settled(a)
		s.halt()
		v := s.fedi.Ledger().Verdict(want, func(id string) (group string, rank int64) {
			group, edit, _ := strings.Cut(strings.TrimPrefix(id, lemmy.ActivityID("")), "/")
			_, err := fmt.Sscan(edit, &rank)
			ok(t, err)
			return group, rank
		})
		if v.Lost+v.Twice+v.OutOfOrder+v.Unexpected > 0 {
			t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
		}
	})
}

func TestLemmy_Better_ANewFollowerIsAddedToThoseWithoutASharedInbox(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, err := s.InstanceWithoutSite(s.ctx, "a.example")
		ok(t, err)
		s.begin(a, 0)
		s.loneFan(a, "a.example", "eve")
		s.start(1)
		s.send()
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/u/eve/inbox": 1})
		s.loneFan(a, "a.example", "joe")
		s.send()
		s.settled(a)
		s.tookAt("a.example", map[string]int{"/u/eve/inbox": 2, "/u/joe/inbox": 1})
	})
}

func TestLemmy_Better_AClockThatWasSetBackDoesNotDelay(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.exec(`update federation_queue_state set fail_count = 3, {last_retry} = now() + interval '1 day' where instance_id = $1`, a)
		s.start(1)
		s.arrived("a.example", s.send())
		s.settled(a)
	})
}

func TestLemmy_Better_PauseResumeSkipReplayRetryAndStatusAreCommands(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)

		s.must("pause", "a.example")
		s.untilStops("a.example", "b.example")
		s.must("resume", "a.example")
		s.settled(b)
		s.arrived("a.example", s.accepted("b.example")...)
		s.settled(a)

		taken := s.accepted("a.example")
		skipped := lemmy.ActivityID(fmt.Sprint(s.sent + 1))
		s.fedi.Instance("a.example").SetBehaviour(fediverse.PerActivity(func(id string) fediverse.Answer {
			if id == skipped {
				return fediverse.Status(500)
			}
			return fediverse.OK
		}))
		s.send()
		s.until("it fails", `select fail_count > 0 from federation_queue_state where instance_id = $1`, a)
		if text := s.must("status", "a.example"); !strings.Contains(text, "failing") {
			t.Errorf("status says %s", text)
		}
		s.must("skip", "a.example", "--to", "latest")
		s.until("it was skipped", `select last_successful_id = $2 from federation_queue_state where instance_id = $1`, a, s.newest())
		next := s.send()
		s.must("retry", "a.example")
		s.arrived("a.example", append(taken, next)...)
		s.fedi.Instance("a.example").SetBehaviour(nil)
		s.settled(a)

		if text := s.must("trace", skipped); !strings.Contains(text, "a.example") {
			t.Errorf("trace says %s", text)
		}
		s.must("replay", "a.example", "--since", "1h")
		ledger := s.fedi.Ledger()
		ok(t, ledger.WaitFor(s.ctx, func() bool { return len(ledger.Duplicates("a.example")) >= len(taken)+1 }))
	})
}
