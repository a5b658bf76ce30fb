package deliver

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"

	"code.dny.dev/ssrf"
)

// guardError says that every address of a name is one that the policy forbids.
type guardError struct{ err error }

func (e *guardError) Error() string { return e.err.Error() }
func (e *guardError) Unwrap() error { return e.err }

// proxyKey carries the proxy of a request through its context to the transport and the dialer.
type proxyKey struct{}

func proxyOf(ctx context.Context) *url.URL {
	proxy, _ := ctx.Value(proxyKey{}).(*url.URL)
	return proxy
}

// guardedDialer connects to public addresses only. The check stands between the resolution of the name and connect(2),
// so a name that resolves differently the second time (DNS rebinding) gains nothing.
type guardedDialer struct {
	dialer    net.Dialer
	guardian  *ssrf.Guardian
	connectTo string
}

func (g *guardedDialer) dial(ctx context.Context, address string) (*gatedConn, error) {
	conn, err := g.connect(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newGatedConn(conn), nil
}

// dialContext is the DialContext of a transport.
func (g *guardedDialer) dialContext(ctx context.Context, _, address string) (net.Conn, error) {
	conn, err := g.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect checks the addresses. What the operator chose, ConnectTo or a proxy, is not guarded: it is normally
// a private address. With a proxy it is the proxy that resolves the name, so of the inbox only address literals and
// local names are checked (Policy.CheckInbox) and the rest is the proxy's to refuse.
func (g *guardedDialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if g.connectTo != "" {
		return g.dialer.DialContext(ctx, network, g.connectTo)
	}
	if proxyOf(ctx) != nil {
		return g.dialer.DialContext(ctx, network, address)
	}
	var refused, tried atomic.Bool
	dialer := g.dialer
	dialer.Control = func(network, address string, raw syscall.RawConn) error {
		if err := g.guardian.Safe(network, address, raw); err != nil {
			refused.Store(true)
			return err
		}
		tried.Store(true)
		return nil
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		return conn, nil
	}
	// A name may have a forgotten private address beside a public one that does not answer today: that is an outage,
	// not a reason to give the delivery up.
	if refused.Load() && !tried.Load() {
		return nil, &guardError{err: err}
	}
	if refused.Load() && isGuard(err) {
		return nil, errors.New("no public address of the host answers")
	}
	return nil, err
}

func isGuard(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedPort) ||
		errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort)
}
