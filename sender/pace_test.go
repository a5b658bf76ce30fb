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

func TestCrowdedPoll_IsLongestWhereNothingIsForInstancesHere(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		head head
		want time.Duration
	}{
		"some hundred":                   {head{count: crowdedAt}, crowdedPoll},
		"thousands in the second before": {head{count: 1, before: throngedAt, wanted: now}, throngedPoll},
		"thousands for others":           {head{count: throngedAt, wanted: now.Add(-unwantedFor)}, unwantedPoll},
	} {
		c.head.second = now
		if got := c.head.crowdedPoll(now); got != c.want {
			t.Errorf("%s: looks every %s, want %s", name, got, c.want)
		}
	}
}
