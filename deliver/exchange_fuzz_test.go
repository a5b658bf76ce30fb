package deliver

import (
	"context"
	"io"
	"net"
	"net/url"
	"regexp"
	"testing"
	"time"
)

// hostile is a server that says what it was told to, whatever it is asked, and hangs up.
type hostile struct {
	net.Conn // nil: the exchange uses what is below
	text     []byte
	read     int
	closed   bool
}

func (h *hostile) Read(p []byte) (int, error) {
	if h.closed || h.read == len(h.text) {
		return 0, io.EOF
	}
	n := copy(p, h.text[h.read:])
	h.read += n
	return n, nil
}

func (h *hostile) Write(p []byte) (int, error)      { return len(p), nil }
func (h *hostile) Close() error                     { h.closed = true; return nil }
func (h *hostile) SetDeadline(time.Time) error      { return nil }
func (h *hostile) SetReadDeadline(time.Time) error  { return nil }
func (h *hostile) SetWriteDeadline(time.Time) error { return nil }

var (
	accepted = regexp.MustCompile(`(?m)^HTTP/\d\.\d +2\d\d`)
	status   = regexp.MustCompile(`(?m)^HTTP/\d\.\d +[+-]?\d{2,3}`)
)

// FuzzExchange: whatever a server says, the exchange ends, reads no more than it may, takes nothing for a success that
// has no such status line, and keeps no connection that has something left to read.
func FuzzExchange(f *testing.F) {
	for _, text := range []string{
		"", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nbody",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nrest",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 503 x\r\nRetry-After: 5\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1  299 \r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	target, err := url.Parse("https://toad.example/inbox")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		server := &hostile{text: text}
		socket := newGatedConn(server)
		d := &direct{idle: newIdlePool(1, 1, time.Minute), headerTimeout: time.Minute, lines: constantLines("toad", "")}
		defer d.idle.close()
		c := &conn{stream: socket, socket: socket, origin: origin{host: "toad.example"}}
		a := &attempt{url: target, doc: &Document{Body: []byte(`{}`)}}
		read, err := c.exchange(context.Background(), a, d)
		if server.read > 3*maxAnswerBytes {
			t.Errorf("%d bytes were read", server.read)
		}
		if kept := d.idle.count.Load() == 1; kept == server.closed || kept && server.read != len(text) {
			t.Errorf("kept: %v, closed: %v, read: %d of %d", kept, server.closed, server.read, len(text))
		}
		switch {
		case err != nil:
			return
		case !status.Match(text):
			t.Errorf("got status %d of what has none", read.status)
		case classify(read.status, read.header, time.Now()).Class == Delivered && !accepted.Match(text):
			t.Errorf("got status %d", read.status)
		}
		if len(read.text) > 4*maxReasonRunes {
			t.Errorf("kept %d bytes of the body", len(read.text))
		}
	})
}
