package deliver

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/ncruces/go-dns"
)

const (
	// dnsEntries bounds the answers that are kept, of at most 4 KiB each; a name has two, one for each family.
	dnsEntries = 8192
	// dnsLongest is for how long an answer is kept whatever it says of itself: a server that moved is found again before
	// its instance is thought to be down.
	dnsLongest = 10 * time.Minute
)

// newResolver keeps the answers of the name servers that ask connects to, those of the system when it is nil, for
// their time to live, as net.Resolver does not: a connection to one of thousands of hosts is seldom kept until the next
// delivery. That a name does not exist is asked anew each time. Go's resolver stays the one that reads /etc/hosts, search
// domains and answers.
func newResolver(ask dns.DialFunc) *net.Resolver {
	if ask == nil {
		ask = new(net.Dialer).DialContext
	}
	kept := dns.NewCachingDialer(ask, dns.MaxCacheEntries(dnsEntries), dns.MaxCacheTTL(dnsLongest), dns.NegativeCache(false))
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		// An answer that is too long for UDP may have 64 KiB, and strangers write it.
		if strings.HasPrefix(network, "tcp") {
			return ask(ctx, network, address)
		}
		conn, err := kept(ctx, network, address)
		if err == nil {
			// It does not look at ctx itself, and would wait for an answer that nobody wants any more.
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}}
}
