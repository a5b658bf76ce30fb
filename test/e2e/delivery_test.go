package e2e

import (
	"fmt"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

func TestEveryFollowerGetsEveryActivity(t *testing.T) {
	ctx := within(t)
	c := newCluster(t, fediverse.Config{})
	world, err := fleet.Seed(ctx, c.DB, c.Fedi, fleet.Seeding{Actors: 2, Instances: 40})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitHeld(ctx, 3); err != nil {
		t.Fatal(err)
	}
	expected := fediverse.Expected{}
	for n := range 100 {
		id := fmt.Sprintf("%s/activities/%d", fleet.ActorID(n%2), n)
		insert(t, c.DB, world.Actors[n%2], id)
		for _, domain := range world.Instances {
			expected.Add(fleet.SharedInbox(domain), id)
		}
	}
	if err := c.WaitSettled(ctx); err != nil {
		t.Fatal(err)
	}
	verdict := c.Fedi.Ledger().Verdict(expected, nil)
	if verdict.Lost != 0 || verdict.Twice != 0 || verdict.Unexpected != 0 || verdict.Delivered != 4000 {
		t.Errorf("verdict: %+v", verdict)
	}
	if violations, n := c.Fedi.Ledger().Violations(); n > 0 {
		t.Errorf("%d requests would be refused somewhere, the first: %v", n, violations[0])
	}
}
