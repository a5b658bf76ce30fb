//go:build testclock

package sender

import (
	"testing"
	"time"
)

func TestSetWall_MovesTheWallClockAlone(t *testing.T) {
	now := time.Now()
	for _, offset := range []time.Duration{0, time.Hour, -time.Hour} {
		set := setWall(now, offset)
		if got := set.Round(0).Sub(now.Round(0)); got != offset {
			t.Errorf("the wall clock is off by %s, want %s", got, offset)
		}
		if got := set.Sub(now); got != 0 {
			t.Errorf("the monotonic clock is off by %s", got)
		}
	}
}
