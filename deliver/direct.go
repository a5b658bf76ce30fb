package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// timeoutError is a net.Error that says which phase took too long.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

const (
	errHandshakeTimeout timeoutError = "TLS handshake timeout"
	errWriteTimeout     timeoutError = "timeout sending the request"
	errHeaderTimeout    timeoutError = "timeout awaiting the header of the answer"
)

// direct makes requests over connections of its own, without a goroutine for any of them: whoever delivers writes the
// request and reads the answer.
type direct struct {
	dialer        *guardedDialer
	tls           atomic.Pointer[tls.Config]
	tlsTimeout    time.Duration
	headerTimeout time.Duration
	idle          *idlePool
	opened        atomic.Uint64
	reused        atomic.Uint64
	lines         string // of the request's head that are always the same
}

func newDirect(config *Config, roots *x509.CertPool) *direct {
	d := &direct{
		dialer: &guardedDialer{
			dialer:    net.Dialer{Timeout: config.ConnectTimeout, Resolver: newResolver(net.DefaultResolver.Dial)},
			guardian:  config.guardian(),
			connectTo: config.ConnectTo,
		},
		tlsTimeout:    config.TLSTimeout,
		headerTimeout: config.HeaderTimeout,
		lines:         constantLines(config.UserAgent, config.SenderName),
	}
	d.tls.Store(tlsWith(roots))
	d.idle = newIdlePool(config.MaxIdle, config.MaxIdlePerHost, config.IdleTimeout)
	d.idle.trusted = &d.tls
	return d
}

func (d *direct) close() { d.idle.close() }

// origin is what a connection is kept for.
type origin struct {
	encrypted bool
	host      string // of the URL, with its port if that is not the scheme's
}

func originOf(a *attempt) origin { return origin{encrypted: a.url.Scheme == "https", host: a.url.Host} }

// errNothingKept says that a signature was not made, because there is no connection yet to send it over.
var errNothingKept = errors.New("no connection is kept")

// exchange takes a connection that was kept, or makes one. Where a kept one turns out to be closed before there was a
// byte of an answer, the request is made again over a new one, once: the other side may close an idle connection at any
// moment, and receivers know activities by their id.
func (d *direct) exchange(ctx context.Context, a *attempt) (*answer, error) {
	c, err := d.signForKept(ctx, a)
	switch {
	case err == nil:
		d.reused.Add(1)
		read, err := c.exchange(ctx, a, d)
		if err == nil || c.heard || ctx.Err() != nil || a.gate.shut() || isTimeout(err) {
			return read, err
		}
	case !errors.Is(err, errNothingKept):
		return nil, err
	}
	began := a.trace.now()
	c, err = d.connect(ctx, a)
	a.trace.connected(began, err)
	if err != nil {
		return nil, err
	}
	a.begun = true
	if err := a.sign(ctx); err != nil {
		d.idle.put(c)
		return nil, err
	}
	return c.exchange(ctx, a, d)
}

// signForKept signs and takes a connection that was kept, but not before the signature has its turn: until then it is of use
// to others. So an instance has about as many connections as requests that are on their way, however many wait.
func (d *direct) signForKept(ctx context.Context, a *attempt) (c *conn, err error) {
	a.from = d.idle
	err = a.sign(ctx)
	c, a.from, a.kept = a.kept, nil, nil
	switch {
	case err != nil && c != nil:
		d.idle.put(c)
	case err == nil && c == nil:
		err = errNothingKept // the signer did not ask what it signs
	}
	return c, err
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// connect makes a connection, and another one where the roots were changed during its handshake.
func (d *direct) connect(ctx context.Context, a *attempt) (*conn, error) {
	for {
		c, err := d.connectOnce(ctx, a)
		if err != nil || !d.idle.outdated(c) {
			return c, err
		}
		c.socket.abort()
	}
}

// connectOnce makes a connection. The handshake of TLS has its time-out, and so has the way there (see net.Dialer).
func (d *direct) connectOnce(ctx context.Context, a *attempt) (*conn, error) {
	o := originOf(a)
	socket, err := d.dialer.dial(ctx, withPort(a.url.Host, o.encrypted))
	if err != nil {
		return nil, err
	}
	d.opened.Add(1)
	if !o.encrypted {
		return &conn{stream: socket, socket: socket, origin: o}, nil
	}
	made := d.tls.Load()
	config := made.Clone()
	config.ServerName = a.url.Hostname()
	encrypted := tls.Client(socket, config)
	shaking, timer := withPatience(ctx, d.tlsTimeout, errHandshakeTimeout)
	defer timer.end()
	if err := a.handshake(shaking, timer, encrypted, socket); err != nil {
		socket.abort()
		if ctx.Err() == nil && errors.Is(context.Cause(shaking), errHandshakeTimeout) {
			err = errHandshakeTimeout
		}
		return nil, err
	}
	return &conn{stream: encrypted, socket: socket, origin: o, made: made}, nil
}

func (a *attempt) handshake(ctx context.Context, timer *patience, encrypted *tls.Conn, socket *gatedConn) error {
	turner, is := a.client.signer.(turner)
	if !is {
		return encrypted.HandshakeContext(ctx)
	}
	socket.turn = &handshakeTurn{ctx: ctx, turner: turner, flow: a.doc, timers: [2]*patience{timer, a.patience}}
	defer func() { socket.turn = nil }()
	defer socket.turn.give()
	if err := socket.turn.take(); err != nil {
		return err
	}
	return encrypted.HandshakeContext(ctx)
}

// withPort adds the scheme's port to a host that names none.
func withPort(host string, encrypted bool) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	if encrypted {
		return host + ":443"
	}
	return host + ":80"
}

// named says which phase a deadline ended.
func named(err error, phase timeoutError) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return phase
	}
	return err
}

// posted tells the parser of answers what was asked: an answer to HEAD or CONNECT is read differently.
var posted = &http.Request{Method: http.MethodPost}
