package fediverse

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Link is what an instance does with connections, before there is a request.
type Link int32

const (
	Up           Link = iota
	Down              // reset as soon as the name is known: at the start of TLS, or after the header of plain HTTP
	HangingTLS        // the handshake never goes on
	ExpiredTLS        // the certificate ended yesterday
	UntrustedTLS      // the certificate is signed by nobody known
	WrongNameTLS      // the certificate is another server's
)

const (
	handshakeByte = 22 // the first byte of TLS, RFC 8446 5.1
	expiredSince  = 24 * time.Hour
	wrongName     = "other.invalid"
)

// sniffer accepts connections of HTTP and of HTTPS.
type sniffer struct {
	net.Listener
	config *tls.Config
	count  atomic.Uint32 // of connections
}

func (s *sniffer) Accept() (net.Conn, error) {
	raw, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: raw, config: s.config, number: s.count.Add(1)}, nil
}

// connection speaks TLS when its first byte does.
type connection struct {
	net.Conn // the socket
	config   *tls.Config
	number   uint32 // from 1

	once    sync.Once
	err     error
	encrypt atomic.Pointer[tls.Conn] // nil for plain HTTP
	first   *replay                  // nil before there is a first byte
}

func (c *connection) sniff() {
	var first [1]byte
	if _, c.err = io.ReadFull(c.Conn, first[:]); c.err != nil {
		return
	}
	c.first = &replay{Conn: c.Conn, read: first[:]}
	if first[0] == handshakeByte {
		c.encrypt.Store(tls.Server(c.first, c.config))
	}
}

func (c *connection) Read(p []byte) (int, error) {
	c.once.Do(c.sniff)
	if c.err != nil {
		return 0, c.err
	}
	if encrypted := c.encrypt.Load(); encrypted != nil {
		return encrypted.Read(p)
	}
	return c.first.Read(p)
}

func (c *connection) Write(p []byte) (int, error) {
	if encrypted := c.encrypt.Load(); encrypted != nil {
		return encrypted.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *connection) Close() error {
	if encrypted := c.encrypt.Load(); encrypted != nil {
		return encrypted.Close()
	}
	return c.Conn.Close()
}

// serverName is the name of the handshake, and whether there was one.
func (c *connection) serverName() (name string, encrypted bool) {
	if conn := c.encrypt.Load(); conn != nil {
		return conn.ConnectionState().ServerName, true
	}
	return "", false
}

// reset ends the connection with RST instead of FIN.
func (c *connection) reset() {
	reset(c.Conn)
}

func reset(socket net.Conn) {
	if tcp, ok := socket.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an error means that it is closed already
	}
	_ = socket.Close()
}

// replay gives the sniffed byte once more.
type replay struct {
	net.Conn
	read []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.read) > 0 {
		n := copy(p, r.read)
		r.read = r.read[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

var errDown = errors.New("the instance is down")

// greet chooses what an instance with a bad Link does in the handshake.
func (f *Fediverse) greet(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	name := nameOf(hello)
	found, ok := f.instances.Load(name)
	if !ok {
		return nil, nil
	}
	instance := found.(*Instance)
	link := instance.currentLink()
	if link == Up {
		return nil, nil
	}
	f.ledger.refuse(instance.domain)
	switch link {
	case HangingTLS:
		// Ends when either side closes the connection.
		_, _ = io.Copy(io.Discard, hello.Conn)
		return nil, errDown
	case ExpiredTLS, UntrustedTLS, WrongNameTLS:
		certificate, err := f.authority.bad(name, link)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}, SessionTicketsDisabled: true}, nil
	}
	reset(hello.Conn.(*replay).Conn)
	return nil, errDown
}

func (a *Authority) bad(name string, link Link) (*tls.Certificate, error) {
	switch link {
	case ExpiredTLS:
		return a.issue(name, a.key, a.root, expiredSince)
	case WrongNameTLS:
		return a.issue(wrongName, a.key, a.root, 0)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := *a.root
	root.PublicKey = stranger.Public()
	return a.issue(name, stranger, &root, 0)
}

// nameOf is the name that the client asks for; who connects by address sends none.
func nameOf(hello *tls.ClientHelloInfo) string {
	if hello.ServerName != "" {
		return hello.ServerName
	}
	host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return "localhost"
	}
	return host
}
