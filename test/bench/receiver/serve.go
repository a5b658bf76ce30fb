package receiver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
)

const (
	accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
	refused  = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"

	// readBufferBytes holds a usual request.
	readBufferBytes = 8 << 10
	// timedPath begins the paths of inboxes whose arrivals are noted.
	timedPath = "/timed/"
)

// receiver counts what all connections bring.
type receiver struct {
	count    atomic.Int64 // requests since the last reset
	bytes    atomic.Int64 // of their bodies
	refused  atomic.Int64 // of those that were checked
	checked  atomic.Int64
	last     atomic.Int64 // when the last one was answered, nanoseconds since 1970
	every    atomic.Int64 // one in so many is checked; 0: none
	delay    atomic.Int64 // from the request to its answer
	awaited  atomic.Int64 // count at which reached is told
	reached  chan struct{}
	keys     sync.Map               // keyId → crypto.PublicKey
	timed    sync.Map               // path → when its first request arrived, nanoseconds since 1970
	reason   atomic.Pointer[string] // why one was refused
	mu       sync.Mutex
	open     map[net.Conn]struct{} // nil when closed
	handlers conc.WaitGroup
}

func newReceiver() *receiver {
	return &receiver{open: map[net.Conn]struct{}{}, reached: make(chan struct{}, 1)}
}

// accept takes connections until the listener closes; encrypted ones when config is given.
func (r *receiver) accept(listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if config != nil {
			conn = tls.Server(conn, config)
		}
		r.mu.Lock()
		if r.open == nil {
			r.mu.Unlock()
			_ = conn.Close()
			return
		}
		r.open[conn] = struct{}{}
		r.handlers.Go(func() { r.serve(conn) })
		r.mu.Unlock()
	}
}

// close ends all connections.
func (r *receiver) close() {
	r.mu.Lock()
	for conn := range r.open {
		_ = conn.Close()
	}
	r.open = nil
	r.mu.Unlock()
	r.handlers.Wait()
}

// serve answers the requests of a connection until one of the sides ends it.
func (r *receiver) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		delete(r.open, conn)
		r.mu.Unlock()
	}()
	in := bufio.NewReaderSize(conn, readBufferBytes)
	for {
		request, err := http.ReadRequest(in)
		if err != nil || r.answer(conn, request) != nil {
			return
		}
	}
}

// answer takes the rest of a request.
func (r *receiver) answer(conn net.Conn, request *http.Request) error {
	if strings.HasPrefix(request.RequestURI, timedPath) {
		r.timed.LoadOrStore(request.RequestURI, time.Now().UnixNano())
	}
	number, text := r.count.Load(), accepted
	var size int64
	var err error
	if every := r.every.Load(); every > 0 && number%every == 0 {
		var body bytes.Buffer
		size, err = body.ReadFrom(request.Body)
		r.checked.Add(1)
		scheme := "http"
		if _, encrypted := conn.(*tls.Conn); encrypted {
			scheme = "https"
		}
		if reason := r.objection(request, scheme, body.Bytes()); err == nil && reason != "" {
			r.reason.Store(&reason)
			r.refused.Add(1)
			text = refused
		}
	} else {
		size, err = io.Copy(io.Discard, request.Body)
	}
	if err != nil {
		return err
	}
	if delay := r.delay.Load(); delay > 0 {
		time.Sleep(time.Duration(delay))
	}
	r.bytes.Add(size)
	r.last.Store(time.Now().UnixNano())
	// Counted before the sender can read the answer.
	if r.count.Add(1) == r.awaited.Load() {
		r.tell()
	}
	_, err = io.WriteString(conn, text)
	return err
}

func (r *receiver) tell() {
	select {
	case r.reached <- struct{}{}:
	default:
	}
}
