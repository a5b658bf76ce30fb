package lemmy_test

import (
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

// Lemmy is silent until the ids have caught up, and says nothing.
func TestLemmy_Better_TablesOfAnOlderBackupAreSpokenOfAndMended(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b, c := s.remote("a.example"), s.remote("b.example"), s.remote("c.example")
		s.start(1)
		var ids []string
		for range 6 {
			ids = append(ids, s.send())
		}
		for n, domain := range []string{"a.example", "b.example", "c.example"} {
			s.arrived(domain, ids...)
			s.settled([]int32{a, b, c}[n])
		}
		s.halt()
		// The last four are gone, and their ids are drawn again.
		s.exec(`delete from sent_activity where id > 2`)
		s.exec(`select setval('sent_activity_id_seq', 2)`)
		s.exec(`update federation_queue_state set last_successful_id = 2 where instance_id = $1`, c) // came back with them
		s.start(1)
		s.says("older backup")
		if text, _ := s.command("doctor"); !strings.Contains(text, "older backup") || !strings.Contains(text, "a.example, b.example") {
			t.Errorf("doctor says:\n%s", text)
		}
		third := s.send()
		s.arrived("c.example", append(ids, third)...)
		s.must("skip", "a.example", "--to", "latest")
		s.must("replay", "b.example", "--since", "1h")
		s.arrived("b.example", append(ids, ids[0], ids[1], third)...)
		fourth := s.send()
		s.arrived("a.example", append(ids, fourth)...)
		s.arrived("b.example", append(ids, ids[0], ids[1], third, fourth)...)
		s.settled(a)
		s.settled(b)
		if text, _ := s.command("doctor"); strings.Contains(text, "older backup") {
			t.Errorf("doctor still says:\n%s", text)
		}
	})
}
