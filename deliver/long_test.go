package deliver_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
)

// endlessDocument is longer than what the kernel takes for a server that reads nothing (tcp_wmem and tcp_rmem of 4 and
// 6 MiB, commonly), and so than any that is sent in earnest.
func endlessDocument(t testing.TB) *deliver.Document {
	doc := newDocument(t, `{}`)
	doc.Body = bytes.Repeat([]byte("x"), 64<<20)
	return doc
}

func TestPost_AnswerIsHeardWhileTheRequestIsStillBeingSent(t *testing.T) {
	const refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo long"
	doc := endlessDocument(t)
	for name, leave := range map[string]func(v *visit){
		"and the server listens no more": func(v *visit) { <-v.script.done },
		"and the server hangs up":        func(*visit) {},
		"and the server listens on":      func(v *visit) { _ = v.listen() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, func(v *visit) {
				_, _ = v.reader.ReadByte()
				v.say(refusal)
				leave(v)
			})
			p := newPoster(t, s.config())
			p.doc = doc
			within(t, 10*time.Second, func() {
				out := p.post(toad)
				// A connection that was reset may have lost what was said before.
				if name == "and the server hangs up" && out.Class == deliver.Retry {
					t.Logf("not heard: %s", out.Reason)
					return
				}
				wantClass(t, out, deliver.Refused, "413", "too long")
			})
		})
	}
}

func TestPost_LongDocumentLeavesAConnectionThatIsUsedAgain(t *testing.T) {
	s := newScript(t, func(v *visit) { v.serve(ok) })
	p := newPoster(t, s.config())
	p.doc = newDocument(t, `{"content":"`+strings.Repeat("x", deliver.MaxBodyBytes-100)+`"}`)
	wantClass(t, p.post(toad), deliver.Delivered)
	p.doc = newDocument(t, `{}`)
	wantClass(t, p.post(toad), deliver.Delivered)
	wantCount(t, "requests", s.requests.Load(), 2)
	if n := s.opened.Load(); n > 2 {
		t.Errorf("%d connections", n)
	}
}

func TestPost_ServerThatNeverReadsEndsInTime(t *testing.T) {
	s := newScript(t, func(v *visit) { <-v.script.done })
	config := s.config()
	config.RequestTimeout = 300 * time.Millisecond
	p := newPoster(t, config)
	p.doc = endlessDocument(t)
	within(t, 10*time.Second, func() { wantClass(t, p.post(toad), deliver.Retry, "no answer within 300ms") })
}

func TestPost_DocumentOfAnyLengthArrivesWhole(t *testing.T) {
	lengths := []int{2, 15 << 10, 16 << 10, 17 << 10, 63 << 10, 64 << 10, 65 << 10, 200 << 10}
	bodies := make(chan []byte, 1)
	s := newScript(t, func(v *visit) {
		for {
			r, err := http.ReadRequest(v.reader)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			bodies <- body
			v.say(ok)
		}
	})
	p := newPoster(t, s.config())
	for _, length := range lengths {
		p.doc = newDocument(t, "{"+strings.Repeat(" ", length-2)+"}")
		wantClass(t, p.post(toad), deliver.Delivered)
		if body := <-bodies; !bytes.Equal(body, p.doc.Body) {
			t.Errorf("of %d bytes %d arrived, or others", length, len(body))
		}
		// The writing of a longer one may be seen to end after its answer came; then another connection is made.
		if length < 64<<10 {
			wantCount(t, "connections", s.opened.Load(), 1)
		}
	}
}
