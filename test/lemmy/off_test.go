package lemmy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

func TestLemmy_Off_FederationSwitchedOffStopsEverythingAndLosesNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.exec(`update local_site set federation_enabled = false`)
		s.start(1)
		first := s.send()
		s.until("it is read", `select horizon >= $1 from fedsender.feed`, s.newest())
		s.halt()
		s.arrived("a.example")
		for _, verb := range []string{"status", "doctor"} {
			if text, _ := s.command(verb); !strings.Contains(text, "switched off as a whole") {
				t.Errorf("%s says:\n%s", verb, text)
			}
		}
		if got := s.cursor(a); got != 0 {
			t.Errorf("the cursor moved to %d", got)
		}
		s.start(1)
		s.exec(`update local_site set federation_enabled = true`)
		s.arrived("a.example", first)
		s.settled(a)
	})
}

func TestLemmy_Off_ABlockStopsWithoutMovingTheCursor(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		ok(t, s.Block(s.ctx, a))
		s.untilStops("a.example", "b.example")
		last := s.send()
		s.arrived("b.example", append(s.accepted("b.example"), last)...)
		s.settled(b)
		s.halt()
		if got := s.cursor(a); got >= s.newest() || slices.Contains(s.accepted("a.example"), last) {
			t.Errorf("the cursor of the blocked instance is at %d of %d", got, s.newest())
		}
		s.exec(`delete from federation_blocklist`)
		s.start(1)
		s.arrived("a.example", s.accepted("b.example")...)
	})
}

// untilStops sends until an activity has reached one instance and not the other, which was told to stop: what was under way
// when the news came may arrive.
func (s *scene) untilStops(stops, goes string) {
	s.t.Helper()
	for {
		id := s.send()
		s.arrived(goes, append(s.accepted(goes), id)...)
		if !slices.Contains(s.accepted(stops), id) {
			return
		}
	}
}

func TestLemmy_Pruned_IDsThatAreGoneArePassedInOneStep(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.send()
		s.exec(`select setval('sent_activity_id_seq', 3000000000)`) // three thousand million steps would take days
		s.exec(`delete from sent_activity`)
		s.start(1)
		second := s.send()
		s.arrived("a.example", second)
		s.settled(a)
	})
}
