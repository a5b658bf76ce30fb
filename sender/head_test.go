package sender

import (
	"testing"
	"time"
)

func TestGapWait_GrowsWithTheGapSoThatAWriterThatStaysOpenCostsLittle(t *testing.T) {
	for stopped, want := range map[time.Duration]time.Duration{
		0:                      gapPoll,
		20 * time.Millisecond:  gapPoll,
		100 * time.Millisecond: 10 * time.Millisecond,
		time.Hour:              slowestGapPoll,
	} {
		if got := gapWait(stopped); got != want {
			t.Errorf("a gap of %s is looked at every %s, want %s", stopped, got, want)
		}
	}
}
