package admin

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConnections are many times what people, probes and scrapers open, so that who reaches the address can't take the memory
	// and the descriptors that deliveries need.
	maxConnections = 1024
	// peerShare is the part of them that one peer may have.
	peerShare = 8
	// writeBuffer is what the kernel keeps (it doubles it) for a reader that does not read; left to itself it grows to megabytes.
	writeBuffer = 64 << 10
)

// connections are those that are open. Where there are too many, of all or of a peer, one that has no request gives way to the new
// one: a probe sends its request at once, so whoever holds connections can't keep it out. What is closed here its reader and writer
// see as an error.
type connections struct {
	max    int
	closed interface{ Inc() } // counts those that were closed because there were too many

	mu    sync.Mutex
	open  map[net.Conn]*connection
	peers map[netip.Addr]int
}

type connection struct {
	peer  netip.Addr // not valid: of this machine, where a proxy may stand for anybody
	since time.Time  // when it began to wait for a request; zero: it has one
}

func newConnections(most int, closed interface{ Inc() }) *connections {
	if most <= 0 {
		most = maxConnections
	}
	return &connections{max: most, closed: closed, open: map[net.Conn]*connection{}, peers: map[netip.Addr]int{}}
}

// watch is for http.Server.ConnState. A connection is new there until the header of its first request was read.
func (c *connections) watch(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.admit(conn)
	case http.StateActive:
		if known := c.open[conn]; known != nil {
			known.since = time.Time{}
		}
	case http.StateIdle:
		if known := c.open[conn]; known != nil {
			known.since = time.Now()
		}
	case http.StateClosed, http.StateHijacked:
		c.forget(conn)
	}
}

func (c *connections) admit(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(writeBuffer)
	}
	peer := peerOf(conn.RemoteAddr())
	if peer.IsValid() && c.peers[peer] >= max(1, c.max/peerShare) && !c.closeOldest(peer) ||
		len(c.open) >= c.max && !c.closeOldest(netip.Addr{}) {
		c.closed.Inc()
		_ = conn.Close()
		return
	}
	c.open[conn] = &connection{peer: peer, since: time.Now()}
	if peer.IsValid() {
		c.peers[peer]++
	}
}

// closeOldest closes the connection, of the peer if that is valid, that has waited longest for a request; false: none waits.
func (c *connections) closeOldest(peer netip.Addr) bool {
	var oldest net.Conn
	for conn, known := range c.open {
		if known.since.IsZero() || peer.IsValid() && known.peer != peer {
			continue
		}
		if oldest == nil || known.since.Before(c.open[oldest].since) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	c.forget(oldest)
	c.closed.Inc()
	_ = oldest.Close()
	return true
}

func (c *connections) forget(conn net.Conn) {
	known := c.open[conn]
	if known == nil {
		return
	}
	delete(c.open, conn)
	if c.peers[known.peer]--; c.peers[known.peer] <= 0 {
		delete(c.peers, known.peer)
	}
}

// peerOf is who is counted as one: an address, or the /64 of IPv6 that a host usually has to itself.
func peerOf(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}
