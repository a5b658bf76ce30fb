package chaos

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/network"
	"github.com/fedsender/fedsender/test/postgres"
)

// stage is the scene of some faults: a fleet, and how it reaches its database.
type stage struct {
	name    string
	senders int
	tag     string // of the build
	hosted  bool   // each sender has a host of its own
	// build starts the server and returns the URL of a database there.
	build func(ctx context.Context, t *testing.T, s *storm) string

	spread spread        // zero: busy
	answer time.Duration // what receivers take; 0: answerAfter
}

var (
	// hosts is what most faults happen to.
	hosts = &stage{name: "hosts", senders: pick(3, 4), tag: "testclock", hosted: true, build: plainServer}
	// proxied reaches the database in three ways: directly, through a proxy that delays, and through PgBouncer.
	proxied = &stage{name: "proxied", senders: 3, build: proxiedServer}
	// replicated has a synchronous replica, so that what an application committed is never lost.
	replicated = &stage{name: "replicated", senders: 3, build: replicatedServer}
	// tight has a server on a small disk.
	tight = &stage{name: "tight", senders: 3, build: tightServer}
)

// everywhere is where the database listens, and for whom.
var everywhere = netip.MustParsePrefix(network.Database + "/15")

// stormSettings keep what others can exhaust small.
var stormSettings = map[string]string{"max_connections": "80"}

// serve starts a durable server: what was committed must outlive a crash of it, as it does in production.
func (s *storm) serve(ctx context.Context, t *testing.T, options postgres.Options) string {
	t.Helper()
	options.Durable, options.Addresses = true, []netip.Prefix{everywhere}
	if options.Settings == nil {
		options.Settings = stormSettings
	}
	server, err := postgres.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := server.CreateDatabase(ctx, "chaos"); err != nil {
		t.Fatal(err)
	}
	s.server = server
	return server.AddressURL(everywhere.Addr(), "chaos")
}

func plainServer(ctx context.Context, t *testing.T, s *storm) string {
	return s.serve(ctx, t, postgres.Options{})
}
