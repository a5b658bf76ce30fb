package lemmy_test

import (
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

func TestLemmy_State_IsWrittenForRowsThatWereOnlySkipped(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		b, err := s.InstanceWithoutSite(s.ctx, "b.example") // nothing is for it
		ok(t, err)
		s.begin(b, 0)
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.untilWithin(long, "the state of the other is fresh", `
			select q.last_successful_id = a.id and q.{last_published} = a.{published}
			from federation_queue_state q, sent_activity a
			where q.instance_id = $1`, b)
	})
}

func TestLemmy_State_IsExactAfterACleanStop(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		b, err := s.InstanceWithoutSite(s.ctx, "b.example")
		ok(t, err)
		s.begin(b, 0)
		s.start(1) // who holds b reads what is for a
		var ids []string
		for range 20 {
			ids = append(ids, s.send())
		}
		s.arrived("a.example", ids...)
		s.until("all is read", `select horizon >= $1 from fedsender.feed`, s.newest())
		s.halt()
		for _, instance := range []int32{a, b} {
			if !query[bool](s, `
				select q.last_successful_id = a.id and q.{last_published} = a.{published} and q.fail_count = 0
				from federation_queue_state q, sent_activity a
				where q.instance_id = $1 and a.id = (select max(id) from sent_activity)`, instance) {
				t.Errorf("the state of instance %d is not that of the newest activity", instance)
			}
		}
	})
}

// pages is what Lemmy's API says of an instance: the words of GET federated_instances and of the federation state of a
// community, worked out from its tables by its rules.
const pages = `
	select case
	  when i.{updated} < now() - interval '48 hours' then 'dead'
	  when q.fail_count > 0 then 'failing'
	  when q.{last_published} is null or q.{last_published} < now() - interval '10 minutes' then 'lagging'
	  else 'up to date' end
	from instance i
	join federation_queue_state q on q.instance_id = i.id
	where i.domain = $1`

func TestLemmy_State_LemmysPagesShowTheTruth(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		old := s.remote("dead.example")
		failing := s.remote("failing.example")
		lagging := s.remote("lagging.example")
		fine := s.remote("fine.example")
		was := s.remote("was-failing.example")
		s.start(1)
		first := s.send()
		for domain, instance := range map[string]int32{"dead.example": old, "failing.example": failing, "lagging.example": lagging, "fine.example": fine, "was-failing.example": was} {
			s.arrived(domain, first)
			s.settled(instance)
			if got := query[string](s, pages, domain); got != "up to date" {
				t.Errorf("%s is %s after a delivery", domain, got)
			}
		}
		s.halt()
		// Days later.
		s.exec(`update fedsender.instance_health set last_success_at = last_success_at - interval '73 hours' where instance_id = $1`, old)
		s.exec(`update instance set {updated} = now() - interval '73 hours' where id = $1`, old)
		s.exec(`update federation_queue_state set fail_count = 30, {last_retry} = now() - interval '1 hour' where instance_id = $1`, old)
		s.exec(`update federation_queue_state set fail_count = 1, {last_retry} = now() - interval '1 hour' where instance_id = $1`, was)
		s.exec(`update federation_queue_state set {last_published} = now() - interval '11 minutes'`)
		s.fedi.Instance("failing.example").SetAnswer(fediverse.Status(500))
		ok(t, s.Block(s.ctx, lagging))
		s.start(1)
		second := s.send()
		s.arrived("fine.example", first, second)
		s.arrived("was-failing.example", first, second)
		s.settled(fine)
		s.settled(was)
		s.until("it fails", `select fail_count > 0 from federation_queue_state where instance_id = $1`, failing)
		for domain, want := range map[string]string{
			"dead.example": "dead", "failing.example": "failing", "lagging.example": "lagging",
			"fine.example": "up to date", "was-failing.example": "up to date",
		} {
			if got := query[string](s, pages, domain); got != want {
				t.Errorf("%s is %s, want %s", domain, got, want)
			}
		}
	})
}
