package lemmy_test

import (
	"context"
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

// own runs Lemmy's own sender until stop is called, which returns when it has stopped.
func (s *scene) own() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	own := &lemmy.Own{World: s.World, Client: s.client()}
	go func() { ended <- own.Run(ctx) }()
	return func() {
		s.t.Helper()
		cancel()
		ok(s.t, <-ended)
	}
}

func TestOwn_SendsEverythingButWhatBecomesVisibleLate(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.stranger("a.example")
		s.send() // older than the instance's begin
		stop := s.own()
		s.until("it has begun", `select exists (select from federation_queue_state where instance_id = $1)`, a)
		_, commit, err := s.SendLate(s.ctx, lemmy.Activity{Name: "late", Actor: s.community, FollowersOf: s.community})
		ok(t, err)
		newer := s.send()
		s.arrived("a.example", newer)
		ok(t, commit())
		stop()
		stop = s.own()
		last := s.send()
		s.arrived("a.example", newer, last)
		stop()
		if got := s.cursor(a); got != s.newest() {
			t.Errorf("the cursor is at %d, want %d", got, s.newest())
		}
	})
}
