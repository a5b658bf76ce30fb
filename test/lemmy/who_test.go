package lemmy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

func TestLemmy_Who_EveryInstanceButTheLocalOne(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		s.start(1)
		first := s.send(everywhere)
		second := s.send(to("https://"+lemmy.Home+"/inbox", "https://a.example/inbox", "https://HOME.example:443/u/ada/inbox"))
		third := s.send(to("https://" + lemmy.Home + "/u/ada/inbox")) // for nobody else
		s.arrived("a.example", first, second)
		s.arrived("b.example", first)
		s.settled(a)
		s.settled(b)
		s.halt()
		s.arrived(lemmy.Home)
		if got := s.letters(); len(got) != 0 {
			t.Errorf("dead letters %q, want none: Lemmy is no remote server", got)
		}
		if text := s.must("trace", third); strings.Contains(text, lemmy.Home+"/u/ada/inbox") {
			t.Errorf("trace tells of an inbox here: %s", text)
		}
		if n := query[int](s, `select count(*) from federation_queue_state`); n != 2 {
			t.Errorf("%d instances have a state, want the 2 remote ones", n)
		}
	})
}

func TestLemmy_Who_OnlyTheAllowListIfItHasAnyRowAndTheBlockListIsIgnored(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		ok(t, s.Allow(s.ctx, b))
		ok(t, s.Block(s.ctx, b))
		s.start(1)
		first := s.send()
		s.arrived("b.example", first)
		s.settled(b)
		s.arrived("a.example")
		if got := s.cursor(a); got != 0 {
			t.Errorf("the cursor of an instance that is not on the list moved to %d", got)
		}
		s.exec(`delete from federation_allowlist`)
		s.arrived("a.example", first)
	})
}

func TestLemmy_Who_AllButTheBlockList(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		ok(t, s.Block(s.ctx, a))
		s.start(1)
		first := s.send()
		s.arrived("b.example", first)
		s.settled(b)
		s.arrived("a.example")
		if got := s.cursor(a); got != 0 {
			t.Errorf("the cursor of a blocked instance moved to %d", got)
		}
		s.exec(`delete from federation_blocklist`)
		s.arrived("a.example", first)
	})
}

func TestLemmy_Who_AnExpiredBlockIsNone(t *testing.T) {
	t.Parallel()
	s := newScene(t, lemmy.V10)
	a, b := s.remote("a.example"), s.remote("b.example")
	ok(t, s.Block(s.ctx, a))
	ok(t, s.Block(s.ctx, b))
	s.exec(`update federation_blocklist set expires_at = now() - interval '1 minute' where instance_id = $1`, a)
	s.exec(`update federation_blocklist set expires_at = now() + interval '2 seconds' where instance_id = $1`, b)
	s.start(1)
	first := s.send()
	s.arrived("a.example", first)
	s.arrived("b.example", first) // when its block has expired, before anybody removes the row
}

func TestLemmy_Who_NotSeenForThreeDaysIsDeadUntilItIsSeen(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		dead, never, b := s.remote("dead.example"), s.remote("never.example"), s.remote("b.example")
		s.exec(`update instance set {updated} = now() - interval '73 hours' where id = $1`, dead)
		s.exec(`update instance set {updated} = null, {published} = now() - interval '73 hours' where id = $1`, never)
		// Their probes of today were made.
		s.exec(`update federation_queue_state set fail_count = 30, {last_retry} = now() - interval '1 hour' where instance_id in ($1, $2)`, dead, never)
		s.start(1)
		first := s.send()
		s.arrived("b.example", first)
		s.settled(b)
		s.until("they are called dead", `select count(*) = 2 from fedsender.instance_status where state = 'dead'`)
		if n := s.fedi.Ledger().Count("dead.example") + s.fedi.Ledger().Count("never.example"); n != 0 {
			t.Errorf("%d deliveries to dead instances", n)
		}
		if got := s.cursor(dead); got != 0 {
			t.Errorf("the cursor of a dead instance moved to %d", got)
		}
		s.exec(`update instance set {updated} = now() where id = $1`, dead) // Lemmy's daily check found it
		s.arrived("dead.example", first)
		s.exec(`update instance set {updated} = now() where id = $1`, never)
		s.arrived("never.example", first)
		s.until("they are called so no more", `select count(*) = 0 from fedsender.instance_status where state = 'dead'`)
	})
}

func TestLemmy_Who_ADeliveryIsWrittenAsASignOfLifeOnceADay(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		old, fresh, failing := s.remote("old.example"), s.remote("fresh.example"), s.remote("failing.example")
		s.exec(`update instance set {updated} = now() - interval '25 hours' where id in ($1, $2)`, old, failing)
		s.exec(`update instance set {updated} = '2200-01-01' where id = $1`, fresh)
		s.fedi.Instance("failing.example").SetAnswer(fediverse.Status(500))
		s.start(1)
		first := s.send()
		s.arrived("old.example", first)
		s.arrived("fresh.example", first)
		s.until("it is written", `select {updated} > now() - interval '10 minutes' from instance where id = $1`, old)
		s.until("the failure is written", `select fail_count > 0 from federation_queue_state where instance_id = $1`, failing)
		s.settled(fresh)
		s.halt()
		if !query[bool](s, `select {updated} = '2200-01-01' from instance where id = $1`, fresh) {
			t.Error("a fresh sign of life was overwritten")
		}
		if !query[bool](s, `select {updated} < now() - interval '24 hours' from instance where id = $1`, failing) {
			t.Error("a failure was written as a sign of life")
		}
	})
}

// long is for what is written at most once a minute.
const long = 100 * time.Second
