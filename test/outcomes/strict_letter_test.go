package outcomes

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

func TestLetter_TheBadOneIsTriedEightTimesWithAPauseThatDoubles(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second} {
		r := newRig(t, deliver.Config{})
		r.toad.SetBehaviour(only(1, fediverse.Status(500)))
		r.insertEvery(0, 2)
		for at := interval; at <= 20*time.Minute; at += interval {
			r.insert(activity{at: at})
		}
		r.run(20 * time.Minute)
		bad := r.triesOf(1)
		wantEqual(t, "tries", len(bad), 8)
		for i, pause := range pauses(bad) {
			want := 8 * time.Second << i
			if i == 0 {
				want = 2 * time.Second
			}
			if pause < want || pause > want+want/10 {
				t.Errorf("one each %s: the pause after try %d is %s, want %s and at most a tenth more", interval, i+1, pause, want)
			}
		}
		for _, l := range r.wantLetters(1) {
			wantEqual(t, "attempts", l.Attempts, 8)
		}
		for _, y := range r.tries {
			if waited := y.at - r.all[y.id-1].at; y.id > 1 && waited > backoff(1)*11/10 {
				t.Errorf("one each %s: its neighbour %d waited for %s", interval, y.id, waited)
			}
		}
		r.wantAllDelivered(1)
	}
}
