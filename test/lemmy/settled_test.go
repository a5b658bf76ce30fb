package lemmy_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// keep answers 202 and keeps the bodies.
func keep(bodies chan<- string) fediverse.Behaviour {
	return func(x *fediverse.Exchange) fediverse.Answer {
		bodies <- string(x.Body)
		return fediverse.OK
	}
}

func TestLemmy_Settled_Any2xxAndEvery4xxBut408And429(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		codes := []int{200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451}
		answers := map[string]int{} // only read while senders run
		s.fedi.Instance("a.example").SetBehaviour(s.receiver.Behaviour(func(x *fediverse.Exchange) fediverse.Answer {
			if code := answers[x.Activity]; code != 0 {
				return fediverse.Status(code)
			}
			return fediverse.OK
		}))
		for _, code := range codes {
			answers[lemmy.ActivityID(strconv.Itoa(code))] = code
		}
		s.start(1)
		first := s.send()
		s.arrived("a.example", first) // the host is known to take our signatures
		for _, code := range codes {
			// To an inbox of one actor: 410 says that this one is gone.
			s.insert(lemmy.Activity{Name: strconv.Itoa(code), Actor: s.community, Inboxes: []string{"https://a.example/u/eve/inbox"}})
		}
		s.settled(a)
		s.halt()
		if n := s.fedi.Ledger().Count("a.example"); n != len(codes)+1 {
			t.Errorf("%d deliveries, want one for each code and %s", n, first)
		}
		if n := query[int](s, `select fail_count from federation_queue_state where instance_id = $1`, a); n != 0 {
			t.Errorf("fail_count is %d", n)
		}
	})
}

func TestLemmy_Settled_ADuplicateThatIsAnswered400IsOver(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		s.fedi.Instance("a.example").SetAnswer(fediverse.Status(400))
		s.must("replay", "a.example", "--since", "1h")
		count := s.fedi.Ledger()
		ok(t, count.WaitFor(s.ctx, func() bool {
			all := count.Deliveries("a.example")
			return len(all) == 2 && all[1].Status == 400
		}))
		s.fedi.Instance("a.example").SetBehaviour(nil)
		second := s.send()
		s.arrived("a.example", first, second)
		s.settled(a)
		if n := count.Count("a.example"); n != 3 {
			t.Errorf("%d deliveries, want 3", n)
		}
	})
}

func TestLemmy_Settled_408And429And5xxAreTriedAgain(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		answers := map[string]fediverse.Answer{
			"a.example": fediverse.Status(408), "b.example": fediverse.RetryAfter(429, time.Second),
			"c.example": fediverse.Status(500), "d.example": fediverse.Status(502), "e.example": fediverse.HangUp,
		}
		for domain, answer := range answers {
			s.remote(domain)
			s.fedi.Instance(domain).SetBehaviour(fediverse.First(1, answer, fediverse.Always(fediverse.OK)))
		}
		s.start(1)
		first := s.send()
		for domain := range answers {
			s.arrived(domain, first)
			if n := s.fedi.Ledger().Count(domain); n < 2 {
				t.Errorf("%d deliveries to %s, want 2", n, domain)
			}
		}
	})
}

func TestLemmy_Backoff_StandsInLemmysTableAndTheCursorStandsStill(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.fedi.Instance("a.example").SetAnswer(fediverse.Status(500))
		s.start(1)
		first := s.send()
		s.until("three rounds failed", `
			select fail_count >= 3 and last_successful_id = 0 and {last_retry} between now() - interval '1 minute' and now() + interval '1 second'
			from federation_queue_state
			where instance_id = $1`, a)
		s.fedi.Instance("a.example").SetBehaviour(nil)
		s.arrived("a.example", first)
		s.settled(a)
	})
}

func TestLemmy_Backoff_IsKeptWhenProcessesChange(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		s.exec(`update instance set {updated} = now() - interval '1 hour'`) // a sign of life after its last try would end it
		// 1.25^19 s are 69 s: another minute to go.
		s.exec(`update federation_queue_state set fail_count = 20, {last_retry} = now() - interval '5 seconds' where instance_id = $1`, a)
		s.start(1)
		first := s.send()
		s.arrived("b.example", first)
		s.settled(b)
		if n := s.fedi.Ledger().Count("a.example"); n != 0 {
			t.Errorf("%d deliveries to an instance that is backed off", n)
		}
		if !query[bool](s, `select next_retry_at > now() from fedsender.instance_status where domain = 'a.example'`) {
			t.Error("its next try is not in the future")
		}
		s.must("retry", "a.example")
		s.arrived("a.example", first)
	})
}

func TestLemmy_Backoff_FallsByOnePerSuccess(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.exec(`update instance set {updated} = now() - interval '2 hours'`) // a sign of life after its last try would clear it
		s.exec(`update federation_queue_state set fail_count = 5, {last_retry} = now() - interval '1 hour' where instance_id = $1`, a)
		s.start(1)
		s.arrived("a.example", s.send(), s.send())
		s.settled(a)
		s.until("two are taken off", `select fail_count = 3 from federation_queue_state where instance_id = $1`, a)
	})
}
