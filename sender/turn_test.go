package sender

import "testing"

func TestTurnOf_SpreadsManyInstancesAndKeepsNeighboursTogether(t *testing.T) {
	turns := make([]int, idleEvery)
	for id := range int32(30_000) {
		turns[turnOf(id)]++
	}
	for turn, n := range turns {
		if n == 0 || n > 30_000/idleEvery+idleBlock {
			t.Errorf("turn %d writes %d cursors", turn, n)
		}
	}
	if turnOf(idleBlock) != turnOf(2*idleBlock-1) {
		t.Error("neighbours are written at different times")
	}
}
