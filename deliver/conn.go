package deliver

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
)

const (
	// maxInterim bounds the answers before the answer (100, 102, 103); a server needs one or two.
	maxInterim = 16
	// lastWordsTimeout is for the answer of a server that hung up before it had read the request: it has been sent, or
	// will not be.
	lastWordsTimeout = 250 * time.Millisecond
	// readBufferBytes holds the usual answer.
	readBufferBytes = 4 << 10
	// sendBufferBytes holds all but long requests, so that they leave in one write and one record of TLS.
	sendBufferBytes = 16 << 10
	// promptBytes of a request are taken at once by a socket that has nothing under way: Linux gives it more room than that when
	// it is connected (tcp(7)). So nobody need read meanwhile.
	promptBytes = 64 << 10
)

var (
	errHeaderTooLong = errors.New("the answer's headers exceeded 64 KiB")
	errTooManyHints  = errors.New("the server announces its answer again and again and does not give it")
)

// Buffers belong to a connection only while a request is under way, so that an idle one holds none.
var (
	writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, sendBufferBytes); return &b }}
	readBuffers  = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBufferBytes) }}
)

// conn is a connection to an inbox's host. It belongs to one goroutine at a time, or to the pool.
type conn struct {
	stream net.Conn // socket, or TLS over it
	socket *gatedConn
	origin origin
	made   *tls.Config // of [direct] when it was made; nil: not encrypted

	left   int64 // how much more may be read of the answer
	heard  bool  // a byte of it was read
	broken error // why no more can be read

	idling
}

// Read is what the parser of answers reads by.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.broken = errHeaderTooLong
		return 0, c.broken
	}
	n, err := c.stream.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.heard = c.heard || n > 0
	c.broken = err
	return n, err
}

// exchange sends the signed request and reads the answer. Afterwards the connection is back in the pool or closed. When
// ctx ends, it is aborted.
func (c *conn) exchange(ctx context.Context, a *attempt, d *direct) (*answer, error) {
	c.left, c.heard, c.broken = maxAnswerBytes, false, nil
	c.socket.begin(a)
	stop := context.AfterFunc(ctx, c.socket.abort)
	defer stop()
	reader := readBuffers.Get().(*bufio.Reader)
	reader.Reset(c)
	defer func() { reader.Reset(nil); readBuffers.Put(reader) }()

	response, sending, err := c.roundTrip(a, d, reader)
	if err != nil {
		_, unsent := sending.finish(c)
		c.socket.abort()
		return nil, cmp.Or(unsent, err)
	}
	switch {
	case response.StatusCode == http.StatusSwitchingProtocols:
		response.Body, response.Close = http.NoBody, true // the connection is no longer HTTP
	case response.Body != http.NoBody:
		// The body has a bound of its own, which leaves room here for what frames it (chunks, trailers).
		c.left = 2 * maxAnswerBytes
		_ = c.stream.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails on a closed socket only, as reading will
	}
	read, whole := readAnswer(response)
	sent, _ := sending.finish(c)
	reusable := stop() && sent && whole && !response.Close && reader.Buffered() == 0
	c.socket.end(a)
	if reusable {
		d.idle.put(c)
	} else {
		_ = c.stream.Close()
	}
	return read, nil
}

// roundTrip sends the request and reads the answer up to its body. The caller finishes what is still being sent then.
func (c *conn) roundTrip(a *attempt, d *direct, reader *bufio.Reader) (*http.Response, *sending, error) {
	buffer := writeBuffers.Get().(*[]byte)
	first, err := a.appendHead((*buffer)[:0], d.lines)
	if err != nil {
		return nil, nil, err
	}
	fits := min(len(a.doc.Body), cap(first)-len(first))
	first = append(first, a.doc.Body[:fits]...)
	rest := a.doc.Body[fits:]
	if len(first)+len(rest) > promptBytes {
		if err := c.stream.SetDeadline(time.Time{}); err != nil { // the request's own time-out goes on
			return nil, nil, err
		}
		s := c.send(d.headerTimeout, first, rest)
		s.buffer = buffer
		response, err := c.readHeader(reader)
		return response, s, err
	}
	err = c.stream.SetDeadline(time.Now().Add(d.headerTimeout))
	if err == nil {
		err = c.write(first, rest)
	}
	*buffer = first[:0]
	writeBuffers.Put(buffer)
	if err != nil {
		return c.lastWords(reader, named(err, errWriteTimeout))
	}
	response, err := c.readHeader(reader)
	return response, nil, err
}

// write sends a request of no more than promptBytes.
func (c *conn) write(first, rest []byte) error {
	if c.stream == net.Conn(c.socket) {
		return c.socket.writeTogether(first, rest)
	}
	_, err := c.stream.Write(first)
	if err == nil && len(rest) > 0 {
		_, err = c.stream.Write(rest)
	}
	return err
}

// lastWords reads what a server said before it hung up in the middle of the request. Without an answer it returns why
// the request could not be sent.
func (c *conn) lastWords(reader *bufio.Reader, unsent error) (*http.Response, *sending, error) {
	if errors.Is(unsent, errShut) || isTimeout(unsent) || c.stream.SetReadDeadline(time.Now().Add(lastWordsTimeout)) != nil {
		return nil, nil, unsent
	}
	response, err := c.readHeader(reader)
	if err != nil {
		return nil, nil, unsent
	}
	response.Close = true
	return response, nil, nil
}

// sending is a request that the kernel does not take at once. It is written by a goroutine of its own, so that a server
// is heard that answers before it has read everything (413).
type sending struct {
	group  conc.WaitGroup
	buffer *[]byte // of the first part
	ended  atomic.Bool
	unsent error // set before ended
}

func (c *conn) send(headerTimeout time.Duration, parts ...[]byte) *sending {
	s := &sending{}
	s.group.Go(func() {
		defer s.ended.Store(true)
		for _, part := range parts {
			if _, s.unsent = c.stream.Write(part); s.unsent != nil {
				break
			}
		}
		if errors.Is(s.unsent, errShut) {
			c.socket.abort()
			return
		}
		wait := headerTimeout
		if s.unsent != nil {
			wait = lastWordsTimeout
		}
		_ = c.stream.SetReadDeadline(time.Now().Add(wait)) // fails on a closed socket only, as reading will
	})
	return s
}

// finish ends a request that is still being sent: its answer has come or never will. It says whether all was sent, and
// if not, why not. A nil sending was sent at once.
func (s *sending) finish(c *conn) (sent bool, unsent error) {
	if s == nil {
		return true, nil
	}
	ended := s.ended.Load()
	if !ended {
		c.socket.abort()
	}
	s.group.Wait()
	writeBuffers.Put(s.buffer)
	if !ended {
		return false, nil
	}
	return s.unsent == nil, s.unsent
}

// readHeader reads the answer up to its body, past what a server says before it has one.
func (c *conn) readHeader(reader *bufio.Reader) (*http.Response, error) {
	for range maxInterim {
		response, err := http.ReadResponse(reader, posted)
		switch {
		case err != nil && c.broken != nil && !errors.Is(c.broken, io.EOF):
			return nil, named(c.broken, errHeaderTimeout) // the parser speaks of the half line that it got
		case err != nil:
			return nil, err
		case response.StatusCode >= 200 || response.StatusCode < 100 || response.StatusCode == http.StatusSwitchingProtocols:
			return response, nil
		}
	}
	return nil, errTooManyHints
}
