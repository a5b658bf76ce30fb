package lemmy_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// Lemmy's tests of its own sender, retold: each names the one that it tells, in crates/apub/send/src of 1.0 and
// crates/federate/src of 0.19. What is there a worker is here a lease; what a count and an index share out, processes do.

// trio are the instances of lib.rs, and who of them gets an activity for all.
var trio = []string{"alpha.com", "beta.com", "gamma.com"}

func newTrio(t *testing.T, line lemmy.Line) (s *scene, ids []int32) {
	t.Helper()
	s = newScene(t, line)
	for _, domain := range trio {
		ids = append(ids, s.remote(domain))
	}
	return s, ids
}

// reach checks that an activity for all is taken by these of the trio, once each, and that the cursors of the others stand.
func (s *scene) reach(ids []int32, want ...string) {
	s.t.Helper()
	id := s.send(everywhere)
	for n, domain := range trio {
		if slices.Contains(want, domain) {
			s.arrived(domain, id)
			s.settled(ids[n])
		}
	}
	for n, domain := range trio {
		if !slices.Contains(want, domain) {
			s.arrived(domain)
			if got := s.cursor(ids[n]); got != 0 {
				s.t.Errorf("the cursor of %s moved to %d", domain, got)
			}
		}
	}
}

// holders says how many of the trio have a holder, and how many instances that are none of them.
func (s *scene) holders() (of, others int) {
	s.t.Helper()
	of = query[int](s, `select count(*) from fedsender.instance_status where holder is not null and domain = any ($1)`, trio)
	return of, query[int](s, `select count(*) from fedsender.lease`) - of
}

// lib.rs, test_send_manager.
func TestRetold_SendManager_EachInstanceHasAHolder(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s, ids := newTrio(t, line)
		s.start(1)
		s.reach(ids, trio...)
		if of, others := s.holders(); of != 3 || others != 0 {
			t.Errorf("%d of the instances are held, and %d others", of, others)
		}
	})
}

// lib.rs, test_send_manager_processes.
func TestRetold_SendManagerProcesses_ShareTheInstancesWithoutIndexAndCount(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s, ids := newTrio(t, line)
		s.start(3)
		s.reach(ids, trio...)
		if of, others := s.holders(); of != 3 || others != 0 {
			t.Errorf("%d of the instances are held, and %d others", of, others)
		}
		s.until("each process has one", `select count(distinct holder) = 3 from fedsender.instance_status where holder is not null`)
	})
}

// lib.rs, test_send_manager_blocked.
func TestRetold_SendManagerBlocked_GetsNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s, ids := newTrio(t, line)
		ok(t, s.Block(s.ctx, ids[0]))
		s.start(1)
		s.reach(ids, trio[1:]...)
	})
}

// lib.rs, test_send_manager_allowed.
func TestRetold_SendManagerAllowed_GetsAllAndTheOthersNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s, ids := newTrio(t, line)
		ok(t, s.Allow(s.ctx, ids[0]))
		s.start(1)
		s.reach(ids, trio[0])
	})
}

// lib.rs, test_send_manager_dead. A dead one is probed once a day; here it was today.
func TestRetold_SendManagerDead_GetsNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s, ids := newTrio(t, line)
		s.exec(`update instance set {updated} = to_timestamp(0) where id = $1`, ids[0])
		s.exec(`update federation_queue_state set fail_count = 30, {last_retry} = now() - interval '1 hour' where instance_id = $1`, ids[0])
		s.start(1)
		s.reach(ids, trio[1:]...)
	})
}

// direct is what worker.rs sends: by a person, to the inbox of one instance.
func direct(s *scene) []change { return []change{by(s.person), to("https://alpha.com/inbox")} }

// worker.rs, test_stats: the state is there at the start, after each activity and after the end.
func TestRetold_Stats_AreInTheTableFromTheStartToTheEnd(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.send(direct(s)...)
		begun := s.newest()
		alpha := s.stranger("alpha.com")
		s.start(1)
		s.until("it has begun", `select last_successful_id = $2 from federation_queue_state where instance_id = $1`, alpha, begun)
		id := s.send(direct(s)...) // its body is looked at by the receiver
		s.arrived("alpha.com", id)
		s.settled(alpha)
		s.halt()
		if got := s.cursor(alpha); got != s.newest() {
			t.Errorf("it ends at %d of %d", got, s.newest())
		}
		s.arrived("alpha.com", id)
	})
}

// worker.rs, test_send_40.
func TestRetold_Send40(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		alpha := s.remote("alpha.com")
		s.start(1)
		var ids []string
		for range 40 {
			ids = append(ids, s.send(direct(s)...))
		}
		s.arrived("alpha.com", ids...)
		s.settled(alpha)
	})
}

// worker.rs, test_send_15_20_30: so many at one time, and the first of the first is answered last.
func TestRetold_Send15_20_30_InParallelAndAnsweredOutOfOrder(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		alpha := s.remote("alpha.com")
		const first = "1"
		answer := make(chan struct{})
		s.fedi.Instance("alpha.com").SetBehaviour(s.receiver.Behaviour(fediverse.PerActivity(func(id string) fediverse.Answer {
			if id != lemmy.ActivityID(first) {
				return nil
			}
			return func(x *fediverse.Exchange) {
				select {
				case <-answer:
				case <-x.Context().Done():
				}
				fediverse.OK(x)
			}
		})))
		s.start(1)
		s.insert(lemmy.Activity{Name: first, Actor: s.person, Inboxes: []string{"https://alpha.com/inbox"}})
		before := s.newest() - 1
		arrived := []string{}
		for _, count := range []int{14, 20, 35} {
			insert := pool.New().WithErrors()
			for range count {
				s.sent++
				a := lemmy.Activity{Name: fmt.Sprint("parallel-", s.sent), Actor: s.person, Inboxes: []string{"https://alpha.com/inbox"}}
				ok(t, s.receiver.Expect(lemmy.ActivityRow{APID: lemmy.ActivityID(a.Name), Data: a.Document()}))
				arrived = append(arrived, lemmy.ActivityID(a.Name))
				insert.Go(func() error {
					_, err := s.Send(context.WithoutCancel(s.ctx), a)
					return err
				})
			}
			ok(t, insert.Wait())
			s.arrived("alpha.com", arrived...)
			if got := s.cursor(alpha); count == 14 && got != before {
				t.Errorf("the cursor is at %d, past the activity that has no answer, want %d", got, before)
			} else if count == 14 {
				close(answer)
				arrived = append(arrived, lemmy.ActivityID(first))
			}
		}
		s.settled(alpha)
	})
}

// worker.rs, test_update_instance. Of one that was dead, too.
func TestRetold_UpdateInstance_ADeliveryIsASignOfLife(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		alpha, dead := s.remote("alpha.com"), s.remote("dead.com")
		s.exec(`update instance set {updated} = null, {published} = now() - interval '2 days' where id = $1`, alpha)
		s.exec(`update instance set {updated} = now() - interval '10 days' where id = $1`, dead)
		s.exec(`update federation_queue_state set fail_count = 40, {last_retry} = now() - interval '25 hours' where instance_id = $1`, dead)
		s.start(1)
		first := s.send()
		s.arrived("alpha.com", first)
		s.arrived("dead.com", first) // today's probe
		for _, id := range []int32{alpha, dead} {
			s.until("it is written", `select {updated} > now() - interval '10 minutes' from instance where id = $1`, id)
		}
		second := s.send()
		s.arrived("dead.com", first, second)
		s.until("it is dead no more", `select state in ('ok', 'lagging') from fedsender.instance_status where domain = 'dead.com'`)
	})
}

// worker.rs, test_errors.
func TestRetold_Errors_AreCountedAndForgivenOneByOne(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		alpha := s.remote("alpha.com")
		s.fedi.Instance("alpha.com").SetAnswer(fediverse.Status(500))
		s.start(1)
		var ids []string
		for range 5 {
			ids = append(ids, s.send(direct(s)...))
		}
		for _, n := range []int{2, 3} {
			s.until("it fails again", `select fail_count >= $2 from federation_queue_state where instance_id = $1`, alpha, n)
		}
		s.fedi.Instance("alpha.com").SetBehaviour(nil)
		s.arrived("alpha.com", ids...)
		s.settled(alpha)
		for query[int](s, `select fail_count from federation_queue_state where instance_id = $1`, alpha) > 0 && !t.Failed() {
			ids = append(ids, s.send(direct(s)...))
			s.arrived("alpha.com", ids...)
			s.settled(alpha)
		}
	})
}
