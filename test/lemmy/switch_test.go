package lemmy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// load is an application that writes without a pause, one activity after the other: with several writers Lemmy's own sender
// would lose some.
type load struct {
	stop func() int // and returns how many were written
}

// backlog is how far the writer is ahead at most, so that one who sends one at a time gets through.
const backlog = 100

// write begins. What is written is expected at the inboxes.
func (s *scene) write(want fediverse.Expected, inboxes ...string) load {
	ctx, cancel := context.WithCancel(s.ctx)
	var mu sync.Mutex
	written := 0
	writer := pool.New().WithErrors()
	writer.Go(func() error {
		for {
			err := s.fedi.Ledger().WaitFor(ctx, func() bool { return s.fedi.Ledger().Count("") >= (written-backlog)*len(inboxes) })
			if err != nil {
				return nil // told to stop
			}
			a := lemmy.Activity{Name: fmt.Sprintf("load-%d", written), Actor: s.community, FollowersOf: s.community}
			if err := s.receiver.Expect(lemmy.ActivityRow{APID: lemmy.ActivityID(a.Name), Data: a.Document()}); err != nil {
				return err
			}
			if _, err := s.Send(context.WithoutCancel(ctx), a); err != nil {
				return err
			}
			mu.Lock()
			for _, inbox := range inboxes {
				want.Add(inbox, lemmy.ActivityID(a.Name))
			}
			written++
			mu.Unlock()
		}
	})
	return load{func() int {
		s.t.Helper()
		cancel()
		ok(s.t, writer.Wait())
		return written
	}}
}

func TestLemmy_Switch_OverAndBackUnderLoadLosesAndRepeatsNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		var inboxes, domains []string
		for n := range 6 {
			domain := fmt.Sprintf("i-%d.example", n)
			instance := s.remote(domain)
			s.loneFan(instance, domain, "lone")
			domains = append(domains, domain)
			inboxes = append(inboxes, lemmy.SharedInbox(domain), lemmy.PersonalInbox(domain, "lone"))
		}
		s.migrate() // long before the switch
		want := fediverse.Expected{}
		writes := s.write(want, inboxes...)
		ledger := s.fedi.Ledger()
		progress := func() {
			t.Helper()
			for _, domain := range domains {
				least := ledger.Accepted(domain) + 30
				ok(t, ledger.WaitFor(s.ctx, func() bool { return ledger.Accepted(domain) >= least }))
			}
		}
		for range 2 {
			stop := s.own()
			progress()
			stop()
			s.start(2)
			progress()
			s.halt()
		}
		stop := s.own()
		progress()
		written := writes.stop()
		s.until("everything is sent", `select bool_and(last_successful_id = $1) from federation_queue_state`, s.newest())
		stop()
		v := ledger.Verdict(want, nil)
		t.Logf("%d activities to %d inboxes: %s", written, len(inboxes), v)
		if v.Lost+v.Twice+v.Unexpected+v.Violations > 0 || v.Delivered != written*len(inboxes) {
			t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
		}
	})
}

func TestLemmy_Switch_TheCursorsThatSendersLeaveAreExact(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		want := fediverse.Expected{}
		s.start(2)
		writes := s.write(want, lemmy.SharedInbox("a.example"))
		ledger := s.fedi.Ledger()
		ok(t, ledger.WaitFor(s.ctx, func() bool { return ledger.Accepted("a.example") >= 100 }))
		s.halt()
		writes.stop()
		settled := query[[]string](s, `select array_agg(ap_id order by ap_id) from sent_activity where id <= $1`, s.cursor(a))
		s.arrived("a.example", settled...)
	})
}
