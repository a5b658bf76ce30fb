package admin

import (
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// fromPeer is a connection that only has an address.
type fromPeer struct {
	net.Conn
	peer   string
	closed bool
}

func (f *fromPeer) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(f.peer), 4711))
}

func (f *fromPeer) Close() error { f.closed = true; return nil }

func TestConnections_OfOnePeerAreBounded(t *testing.T) {
	c := newConnections(16, prometheus.NewCounter(prometheus.CounterOpts{}))
	open := func(peer string) *fromPeer {
		conn := &fromPeer{peer: peer}
		c.watch(conn, http.StateNew)
		return conn
	}
	first, second := open("2001:db8::1"), open("2001:db8::2")
	c.watch(first, http.StateActive)
	require.False(t, open("2001:db8::3").closed)
	require.True(t, second.closed, "the one without a request gives way")
	require.False(t, first.closed)
	c.watch(second, http.StateClosed)
	for conn := range c.open {
		c.watch(conn, http.StateActive)
	}
	require.True(t, open("2001:db8::4").closed, "none of its peer gives way")
	require.False(t, open("2001:db8:0:1::4").closed)
	require.False(t, open("::ffff:192.0.2.1").closed)
	for range 12 {
		require.False(t, open("127.0.0.1").closed, "a proxy on this machine stands for anybody")
	}
	require.Len(t, c.open, 16)
	for conn := range c.open {
		c.watch(conn, http.StateClosed)
	}
	require.Empty(t, c.open)
	require.Empty(t, c.peers)
}
