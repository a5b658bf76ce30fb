package deliver

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// gatedBytes is what the kernel gets at most before the gate is asked again.
const gatedBytes = 64 << 10

// errShut is what a write meets after the gate of its request was shut. Post returns Canceled for it.
var errShut = errors.New("nothing may be sent any more")

type gateKey struct{}

// WithGate makes each request under ctx ask open right before every write to its socket, below TLS: once it says no,
// not another byte of the request leaves, whatever was signed or queued before. open is called by many goroutines at
// one time and must be quick; when it has said no it must not say yes again.
func WithGate(ctx context.Context, open func() bool) context.Context {
	return context.WithValue(ctx, gateKey{}, &gate{open})
}

// gate belongs to requests and not to connections, which outlive what they were opened for: an old request is not let
// through because a later one would be.
type gate struct{ open func() bool }

func gateOf(ctx context.Context) *gate {
	g, _ := ctx.Value(gateKey{}).(*gate)
	return g
}

// shut says whether the gate keeps writes back. There need not be one.
func (g *gate) shut() bool { return g != nil && !g.open() }

// gatedConn is the socket of deliveries. Closed while a request is under way it is aborted: what the kernel still has
// of the request is discarded, where a closed socket would go on sending it, to arrive when a link is up again or a
// receiver reads on, long after another process took over. The same happens when this process is killed.
type gatedConn struct {
	net.Conn
	request atomic.Pointer[attempt] // under way; nil when idle. HTTP/1.1 has one at a time.
	probe   probe
	turn    *handshakeTurn // while there is a handshake
}

// newGatedConn sets SO_LINGER to zero seconds, with which the kernel discards and resets (socket(7)).
func newGatedConn(conn net.Conn) *gatedConn {
	linger(conn, 0)
	c := &gatedConn{Conn: conn}
	c.probe.init(conn)
	return c
}

// linger can fail only for a socket that is closed.
func linger(conn net.Conn, seconds int) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(seconds)
	}
}

// shut says whether the request that is under way may go on.
func (c *gatedConn) shut() bool {
	a := c.request.Load()
	return a != nil && a.gate.shut()
}

// Write asks the gate, again for each part of what is long. A handshake, before there is a request, tells nobody
// anything and passes.
func (c *gatedConn) Write(p []byte) (int, error) {
	for written := 0; ; {
		if c.shut() {
			return written, errShut
		}
		n, err := c.Conn.Write(p[written:min(len(p), written+gatedBytes)])
		written += n
		if err != nil || written >= len(p) {
			return written, err
		}
	}
}

// writeTogether sends both parts, not more than gatedBytes, as one: each call of the kernel is a packet, and costs the sender more
// than its bytes.
func (c *gatedConn) writeTogether(first, rest []byte) error {
	if len(rest) == 0 {
		_, err := c.Write(first)
		return err
	}
	if c.shut() {
		return errShut
	}
	parts := net.Buffers{first, rest}
	_, err := parts.WriteTo(c.Conn) // writev(2)
	return err
}

// Read does not wait while the connection is probed.
func (c *gatedConn) Read(p []byte) (int, error) {
	switch {
	case c.probe.on:
		return c.probe.read(p)
	case c.turn != nil:
		return c.readBetweenTurns(p)
	}
	return c.Conn.Read(p)
}

func (c *gatedConn) readBetweenTurns(p []byte) (int, error) {
	c.turn.give()
	n, err := c.Conn.Read(p)
	if err == nil {
		err = c.turn.take()
	}
	return n, err
}

// Close takes leave of the other side where nothing is under way.
func (c *gatedConn) Close() error {
	if c.request.Load() == nil {
		linger(c.Conn, -1)
	}
	return c.Conn.Close()
}

// abort is Close for those who have no use for its error.
func (c *gatedConn) abort() { _ = c.Close() }

// begin is called when a request gets the connection, before its first byte.
func (c *gatedConn) begin(a *attempt) { c.request.Store(a) }

// end is called when the request was answered. The connection may have got the next one before.
func (c *gatedConn) end(a *attempt) { c.request.CompareAndSwap(a, nil) }

// gatedUnder finds the socket under TLS, or nil where a transport has another kind.
func gatedUnder(conn net.Conn) *gatedConn {
	for {
		switch c := conn.(type) {
		case *gatedConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
