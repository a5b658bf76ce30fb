//go:build unix

package deliver

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
)

// slicing is a socket that sends the first bytes of what is written, and the rest when it is told to.
type slicing struct {
	net.Conn
	first int // 0: all
	rest  []byte
}

func (s *slicing) Write(p []byte) (int, error) {
	if s.first == 0 || s.first >= len(p) {
		return s.Conn.Write(p)
	}
	s.rest = append([]byte(nil), p[s.first:]...)
	if _, err := s.Conn.Write(p[:s.first]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pair is an idle connection with TLS and its other end, which is sliced.
func pair(t *testing.T) (near *conn, far *tls.Conn, socket *slicing) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate
	t.Cleanup(server.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	socket = &slicing{Conn: accepted}
	far = tls.Server(socket, server.TLS)
	gated := newGatedConn(dialed)
	encrypted := tls.Client(gated, &tls.Config{InsecureSkipVerify: true}) // #nosec G402: whose certificate it is does not matter here
	t.Cleanup(func() { gated.abort(); _ = accepted.Close() })
	var greeting conc.WaitGroup
	greeting.Go(func() { _, _ = far.Write([]byte("a")) })
	if _, err := encrypted.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	greeting.Wait()
	return &conn{stream: encrypted, socket: gated}, far, socket
}

// pending waits until there is something to read.
func pending(t *testing.T, c *conn) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(20 * time.Second); c.socket.probe.silent(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatal("nothing has come")
		}
	}
}

// What TLS says to itself, such as a ticket that comes late, is nothing of HTTP.
func TestQuiet_TLSReadsOnAfterItWasProbed(t *testing.T) {
	c, far, socket := pair(t)
	if !c.quiet() {
		t.Fatal("a connection on which nothing is said is not quiet")
	}
	socket.first = 3
	if _, err := far.Write([]byte("unasked")); err != nil {
		t.Fatal(err)
	}
	pending(t, c)
	if !c.quiet() {
		t.Error("the beginning of a record was taken for something said")
	}
	if _, err := socket.Conn.Write(socket.rest); err != nil {
		t.Fatal(err)
	}
	pending(t, c)
	if c.quiet() {
		t.Error("what was said was not noticed")
	}
}

func TestQuiet_TLSGoodbyeIsNoticed(t *testing.T) {
	c, far, _ := pair(t)
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	pending(t, c)
	if c.quiet() {
		t.Error("a connection that the other side has closed is quiet")
	}
}
