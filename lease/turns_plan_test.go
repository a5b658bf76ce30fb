package lease

import (
	"testing"
	"time"
)

func TestTurns_VisitsAreSpreadHoweverManyInstancesThereAreForOneLock(t *testing.T) {
	own := make([]int32, 100_000)
	for i := range own {
		own[i] = int32(i)
	}
	now := time.Now()
	var plan turns
	plan.plan(own, 1, now)
	for i, last := 0, now; i < len(own); i++ {
		if due := plan.due[own[i]]; !due.After(last) {
			t.Fatalf("visit %d of %d is due %v after now, the one before %v", i, len(own), due.Sub(now), last.Sub(now))
		} else {
			last = due
		}
	}
}
