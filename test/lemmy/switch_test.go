package lemmy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
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

// late is how many rows the writers write; the long form has 100,000.
const late = 4_000

func TestLemmy_Better_SixteenWritersWhoCommitOutOfOrderLoseNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(2)
		reading, done := context.WithCancel(s.ctx)
		simple := pool.New().WithErrors()
		lost := 0
		var passed atomic.Int64 // by the simple rule
		simple.Go(func() (err error) {
			lost, err = s.simpleRule(reading, &passed)
			return err
		})
		const writers = 16
		want := fediverse.Expected{}
		var mu sync.Mutex
		var finished atomic.Int64
		write := pool.New().WithErrors()
		for n := range writers {
			write.Go(func() error {
				for i := range late / writers {
					activity := lemmy.Activity{Name: fmt.Sprintf("late-%d-%d", n, i), Actor: s.community, FollowersOf: s.community}
					id, commit, err := s.SendLate(s.ctx, activity)
					if err != nil {
						return err
					}
					if n == 0 && i%50 == 7 { // one of them is slow now and then
						err := fleet.Until(s.ctx, "others have committed later ids", func() (bool, error) {
							return passed.Load() >= id || finished.Load() == writers-1, nil
						})
						if err != nil {
							return err
						}
					}
					mu.Lock() // others draw ids meanwhile
					want.Add("https://a.example/inbox", lemmy.ActivityID(activity.Name))
					mu.Unlock()
					if err := commit(); err != nil {
						return err
					}
				}
				finished.Add(1)
				return nil
			})
		}
		ok(t, write.Wait())
		s.settled(a)
		done()
		ok(t, simple.Wait())
		s.halt()
		v := s.fedi.Ledger().Verdict(want, nil)
		t.Logf("%d rows by %d writers: the simple rule loses %d; %s", late, writers, lost, v)
		if v.Lost+v.Twice > 0 || v.Delivered != late {
			t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
		}
		if lost == 0 {
			t.Error("the simple rule lost nothing: the writers did not commit out of order, and the test shows nothing")
		}
	})
}

// simpleRule reads as Lemmy does, the highest id and then every id once, until ctx ends, and returns how many it missed of
// what it has passed, which it tells meanwhile.
func (s *scene) simpleRule(ctx context.Context, passed *atomic.Int64) (missed int, err error) {
	work := context.WithoutCancel(ctx)
	var cursor, seen int64
	for ctx.Err() == nil {
		var newest int64
		if err := s.DB.QueryRow(work, `select coalesce(max(id), 0) from sent_activity`).Scan(&newest); err != nil {
			return 0, err
		}
		for ; cursor < newest; cursor++ {
			var found int64
			if err := s.DB.QueryRow(work, `select count(*) from sent_activity where id = $1`, cursor+1).Scan(&found); err != nil {
				return 0, err
			}
			seen += found
			passed.Store(cursor + 1)
		}
	}
	err = s.DB.QueryRow(work, `select count(*) - $2 from sent_activity where id <= $1`, cursor, seen).Scan(&missed)
	return missed, err
}
