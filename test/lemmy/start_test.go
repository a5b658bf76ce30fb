package lemmy_test

import (
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

func TestLemmy_Start_WithoutAStateRowAtTheNewestID(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.stranger("a.example"), s.remote("b.example")
		older := s.send()
		s.start(1)
		s.arrived("b.example", older)
		s.until("it has a state", `select last_successful_id = $2 from federation_queue_state where instance_id = $1`, a, s.newest())
		newer := s.send()
		s.arrived("b.example", older, newer)
		s.arrived("a.example", newer)
		s.settled(a)
		s.settled(b)
	})
}

func TestLemmy_Start_AnIDOfNullIsNoStateYet(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.stranger("a.example")
		s.exec(`insert into federation_queue_state (instance_id, fail_count) values ($1, 0)`, a)
		s.send()
		s.start(1)
		s.until("it has begun", `select last_successful_id = $2 from federation_queue_state where instance_id = $1`, a, s.newest())
		newer := s.send()
		s.arrived("a.example", newer)
	})
}

func TestLemmy_Start_AnInstanceThatAppearsGetsWhatIsCommittedAfterIt(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		b := s.remote("b.example")
		s.start(1)
		older := s.send(everywhere)
		s.arrived("b.example", older)
		// What was committed while older transactions ran, of whatever database, may be taken for what came later.
		s.until("all older transactions have ended", `
			select pg_snapshot_xmin(pg_current_snapshot())::text::bigint > (select max(xmin::text::bigint) from sent_activity)`)
		a := s.stranger("a.example")
		newer := s.send(everywhere)
		s.arrived("a.example", newer)
		s.arrived("b.example", older, newer)
		s.settled(a)
		s.settled(b)
	})
}

func TestLemmy_Start_WithAStateRowWhereItStands(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.stranger("a.example")
		s.send()
		stands := s.newest()
		second := s.send()
		s.begin(a, stands)
		s.start(1)
		s.arrived("a.example", second)
		s.settled(a)
	})
}
