package access

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// An address may be wrong ten times at once and then every other second: a person never notices, and a thousand
	// guesses take half an hour.
	wrongEvery = 2 * time.Second
	wrongBurst = 10
	// All addresses together.
	allEvery = 50 * time.Millisecond
	allBurst = 100
	// maxAddresses bounds the memory; who is forgotten starts anew, and is held by what holds all.
	maxAddresses = 4096
)

// attempts counts wrong tokens, by address and in all.
type attempts struct {
	mu        sync.Mutex
	byAddress *lru.Cache[netip.Prefix, *rate.Limiter]
	all       *rate.Limiter
}

func newAttempts() *attempts {
	byAddress, err := lru.New[netip.Prefix, *rate.Limiter](maxAddresses)
	if err != nil {
		panic(err) // a size below one
	}
	return &attempts{byAddress: byAddress, all: rate.NewLimiter(rate.Every(allEvery), allBurst)}
}

// try compares, unless this address or all together were wrong too often. Attempts go one by one, so that no number of them
// at once is more than the burst.
func (a *attempts) try(address string, now time.Time, right func() bool) Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter, known := a.byAddress.Get(network(address))
	if !known {
		limiter = rate.NewLimiter(rate.Every(wrongEvery), wrongBurst)
	}
	switch {
	case limiter.TokensAt(now) < 1, a.all.TokensAt(now) < 1:
		return TooMany
	case right():
		return Known
	}
	limiter.AllowN(now, 1)
	a.all.AllowN(now, 1)
	a.byAddress.Add(network(address), limiter)
	return Wrong
}

// network is an IPv4 address, or what one customer has of IPv6.
func network(address string) netip.Prefix {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	addr := parsed.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, _ := addr.Prefix(bits)
	return prefix
}
