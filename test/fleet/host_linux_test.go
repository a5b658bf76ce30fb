package fleet_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) {
	if err := network.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(postgres.Main(m))
}

// databasePrefix is where the database listens, and for whom.
var databasePrefix = netip.MustParsePrefix(network.Database + "/15")

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hosts makes so many machines.
func hosts(t *testing.T, n int) []fleet.Machine {
	t.Helper()
	var made []fleet.Machine
	for range n {
		h, err := network.NewHost()
		ok(t, err)
		t.Cleanup(func() { ok(t, h.Close()) })
		made = append(made, h)
	}
	return made
}

// cluster has a database and a fediverse that hosts can reach.
func cluster(t *testing.T, ctx context.Context) *fleet.Cluster {
	t.Helper()
	server, err := postgres.Start(ctx, postgres.Options{Addresses: []netip.Prefix{databasePrefix}})
	ok(t, err)
	t.Cleanup(func() { ok(t, server.Close()) })
	_, err = server.CreateDatabase(ctx, "fleet")
	ok(t, err)
	binary, err := fleet.Build(ctx, t.TempDir())
	ok(t, err)
	c, err := fleet.NewCluster(ctx, binary, server.AddressURL(databasePrefix.Addr(), "fleet"), fediverse.Config{Addr: network.Fediverse + ":0"})
	ok(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		ok(t, c.Close(ctx))
	})
	return c
}

func TestCluster_SendersOnHostsThatVanishAndReturn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := cluster(t, ctx)
	_, err := fleet.Seed(ctx, c.DB, c.Fedi, fleet.Seeding{Actors: 1, Instances: 20})
	ok(t, err)
	machines := hosts(t, 2)
	senders, err := c.StartOn(ctx, append(machines, nil)...)
	ok(t, err)
	ok(t, c.WaitHeld(ctx, 3))
	ok(t, machines[0].(*network.Host).Vanish())
	cut := time.Now()
	ok(t, c.WaitHeld(ctx, 2))
	took := time.Since(cut)
	t.Logf("every instance held by the others %s after the link was cut", took.Round(10*time.Millisecond))
	ok(t, machines[0].(*network.Host).Return())
	ok(t, c.WaitHeld(ctx, 3))
	_, err = c.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
		select 'https://home.example/a/1', json_build_object('id', 'https://home.example/a/1', 'type', 'Create'), id, true
		from fedsender.actor`)
	ok(t, err)
	ok(t, c.WaitSettled(ctx))
	if n := c.Fedi.Ledger().Accepted(""); n != 20 {
		t.Errorf("%d were delivered, want 20", n)
	}
	for _, s := range senders {
		ok(t, s.Stop(ctx))
	}
}
