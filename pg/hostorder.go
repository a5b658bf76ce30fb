package pg

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// HostOrder remembers which of several hosts took a connection last, so that it is tried first: one that is gone without a word
// costs a whole connect_timeout, and after a fail-over each connection would wait for it again. The zero value knows of
// none. Its methods are safe for several goroutines.
type HostOrder struct {
	mu    sync.Mutex
	turn  int
	ranks map[string]int      // by address; the highest is tried first, one that is missing has 0
	names map[string][]string // hosts by what they were resolved to
}

// Sort has cfg try the hosts in the order of what was seen, and else in its own.
func (o *HostOrder) Sort(cfg *pgx.ConnConfig) {
	places := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.SortStableFunc(places, func(a, b *pgconn.FallbackConfig) int { return o.rank(b) - o.rank(a) })
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = places[0].Host, places[0].Port, places[0].TLSConfig, places[1:]
}

func (o *HostOrder) rank(place *pgconn.FallbackConfig) int {
	_, address := pgconn.NetworkAddress(place.Host, place.Port)
	return o.ranks[address]
}

// Watch has the connections of cfg tell which host took them. What cfg had been told to ask of a connection, comes first.
func (o *HostOrder) Watch(cfg *pgx.ConnConfig) {
	lookup, validate := cfg.LookupFunc, cfg.ValidateConnect
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		found, err := lookup(ctx, host)
		o.resolved(host, found)
		return found, err
	}
	cfg.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if validate != nil {
			if err := validate(ctx, conn); err != nil {
				return err
			}
		}
		o.note(conn, 1)
		return nil
	}
}

// Lost puts the host of a session whose server fell silent behind all others.
func (o *HostOrder) Lost(s *LeaseSession) { o.note(s.conn.PgConn(), -1) }

func (o *HostOrder) resolved(host string, found []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.names = map[string][]string{}
	}
	for resolved, hosts := range o.names { // the addresses of a host change
		o.names[resolved] = slices.DeleteFunc(hosts, func(h string) bool { return h == host })
		if len(o.names[resolved]) == 0 {
			delete(o.names, resolved)
		}
	}
	for _, resolved := range found {
		o.names[resolved] = append(o.names[resolved], host)
	}
}

// note gives the host of a connection the highest rank so far, or the lowest.
func (o *HostOrder) note(conn *pgconn.PgConn, sign int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ranks == nil {
		o.ranks = map[string]int{}
	}
	o.turn++
	for _, address := range o.addresses(conn.Conn().RemoteAddr()) {
		o.ranks[address] = sign * o.turn
	}
}

// addresses are what hosts are known by that an address may belong to.
func (o *HostOrder) addresses(remote net.Addr) (addresses []string) {
	resolved, port, err := net.SplitHostPort(remote.String())
	number, _ := strconv.ParseUint(port, 10, 16)
	if err != nil || remote.Network() == "unix" {
		return []string{remote.String()}
	}
	for _, host := range o.names[resolved] {
		_, address := pgconn.NetworkAddress(host, uint16(number))
		addresses = append(addresses, address)
	}
	return addresses
}
