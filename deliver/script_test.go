package deliver_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/deliver"
)

// ok is an answer that leaves the connection as it should be.
const ok = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

// script is a server that does to each connection what a test says.
type script struct {
	address  string
	opened   atomic.Int64  // connections
	requests atomic.Int64  // that were read to their end
	done     chan struct{} // closed when the test ends

	mu   sync.Mutex
	open map[net.Conn]bool
}

// visit is one connection to a script. It is closed when its turn is over.
type visit struct {
	net.Conn
	number int64 // of the connection, from 1
	reader *bufio.Reader
	script *script
}

// newScript serves each connection by turn, in a goroutine of its own. What is open at the end of the test is closed.
func newScript(t testing.TB, turn func(v *visit)) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{address: listener.Addr().String(), open: map[net.Conn]bool{}, done: make(chan struct{})}
	var serving conc.WaitGroup
	t.Cleanup(func() {
		close(s.done)
		_ = listener.Close()
		s.hangUp()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				s.hangUp() // of those that came after the last time
				return
			}
			s.note(conn, true)
			v := &visit{Conn: conn, number: s.opened.Add(1), reader: bufio.NewReader(conn), script: s}
			serving.Go(func() {
				defer s.note(conn, false)
				defer conn.Close()
				turn(v)
			})
		}
	})
	return s
}

func (s *script) note(conn net.Conn, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open {
		s.open[conn] = true
	} else {
		delete(s.open, conn)
	}
}

// connections is how many are open.
func (s *script) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *script) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
}

// request reads one request and its body. It says whether there was one.
func (v *visit) request() bool {
	r, err := http.ReadRequest(v.reader)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	v.script.requests.Add(1)
	return true
}

// say writes; the client may be gone.
func (v *visit) say(text string) { _, _ = io.WriteString(v, text) }

// serve answers each request with the text, until the client hangs up.
func (v *visit) serve(text string) {
	for v.request() {
		v.say(text)
	}
}

// listen reads until the client hangs up, and returns how.
func (v *visit) listen() error {
	_, err := io.Copy(io.Discard, v.reader)
	return err
}

// config reaches the script without TLS.
func (s *script) config() deliver.Config {
	return deliver.Config{Policy: deliver.Policy{AllowHTTP: true}, ConnectTo: s.address, Signer: constantSigner{}}
}

const toad = "http://toad.example/inbox"

// poster posts to toad.
type poster struct {
	*deliver.Client
	testing.TB
	doc *deliver.Document
	key *deliver.Key
}

func newPoster(t testing.TB, config deliver.Config) *poster {
	t.Helper()
	return &poster{Client: newClient(t, config), TB: t, doc: newDocument(t, `{"type":"Create"}`), key: newKey(t)}
}

func (p *poster) post(inbox string) deliver.Outcome {
	return p.Post(p.Context(), inbox, p.doc, p.key)
}

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

func wantCount(t testing.TB, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("%d %s, want %d", got, what, want)
	}
}
