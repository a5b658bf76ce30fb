package lease

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fleet names n processes; other rounds have other names.
func fleet(round, n int) (members []member) {
	for i := range n {
		members = append(members, member{id: fmt.Sprintf("%d-%d", round, i)})
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.id, b.id) })
	return members
}

func numbers(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

func TestAssign_NoShareIsATenthAboveTheOthersHoweverFewThereAre(t *testing.T) {
	for _, c := range []struct{ instances, members int }{{50, 5}, {200, 5}, {200, 3}, {2000, 5}, {30000, 50}} {
		for round := range 10 {
			a := assign(numbers(c.instances), fleet(round, c.members), &Weights{})
			fair := float64(c.instances) / float64(c.members)
			for _, m := range a.members {
				if n := float64(len(a.of(m))); n < fair*0.87-1 || n > fair*1.1+1 { // the least by chance
					t.Errorf("%d instances for %d: a share of %.0f", c.instances, c.members, n)
				}
			}
		}
	}
}

func TestAssign_AChangeMovesLittleMoreThanItMust(t *testing.T) {
	const rounds = 10
	for _, c := range []struct{ instances, before, after int }{{200, 4, 5}, {2000, 5, 4}, {30000, 3, 4}, {30000, 50, 51}} {
		moved := 0
		for round := range rounds {
			ids := numbers(c.instances)
			a, b := assign(ids, fleet(round, c.before), &Weights{}), assign(ids, fleet(round, c.after), &Weights{})
			for _, id := range ids {
				if a.ownerOf(id) != b.ownerOf(id) {
					moved++
				}
			}
		}
		if least := c.instances / max(c.before, c.after); moved > least*rounds*13/10 {
			t.Errorf("%d instances from %d to %d processes: moved %d, the minimum is %d", c.instances, c.before, c.after, moved/rounds, least)
		}
	}
}
