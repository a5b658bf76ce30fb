package deliver_test

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

func TestPost_ConnectionIsUsedAgainAfterEachAnswerThatEnds(t *testing.T) {
	for name, c := range map[string]struct {
		answer      string
		class       deliver.Class
		connections int64 // that two deliveries need
	}{
		"no body":              {ok, deliver.Delivered, 1},
		"204":                  {"HTTP/1.1 204 No Content\r\n\r\n", deliver.Delivered, 1},
		"a body":               {"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\ndone", deliver.Delivered, 1},
		"chunks":               {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n", deliver.Delivered, 1},
		"chunks and a trailer": {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n4\r\ndone\r\n0\r\nA: b\r\n\r\n", deliver.Delivered, 1},
		"hints":                {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + ok, deliver.Delivered, 1},
		"a refusal":            {"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope", deliver.Refused, 1},
		"a body of 60 KiB":     {"HTTP/1.1 202 Accepted\r\nContent-Length: 61440\r\n\r\n" + strings.Repeat("x", 60<<10), deliver.Delivered, 1},
		"a body of 65 KiB":     {"HTTP/1.1 202 Accepted\r\nContent-Length: 66560\r\n\r\n" + strings.Repeat("x", 65<<10), deliver.Delivered, 2},
		"that it closes":       {"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", deliver.Delivered, 2},
		"HTTP/1.0":             {"HTTP/1.0 202 Accepted\r\nContent-Length: 0\r\n\r\n", deliver.Delivered, 2},
		"another protocol":     {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: toad\r\n\r\n", deliver.Retry, 2},
		"more than an answer":  {ok + "HTTP/1.1 200 OK\r\n\r\n", deliver.Delivered, 2},
		"two lengths":          {"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n", deliver.Retry, 2},
		"bad chunks":           {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", deliver.Delivered, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, func(v *visit) { v.serve(c.answer) })
			p := newPoster(t, s.config())
			for range 2 {
				if out := p.post(toad); out.Class != c.class {
					t.Errorf("got %+v, want %s", out, c.class)
				}
			}
			wantCount(t, "connections", s.opened.Load(), c.connections)
			wantCount(t, "requests", s.requests.Load(), 2)
		})
	}
}

func TestPost_BodyThatEndsWithTheConnectionIsRead(t *testing.T) {
	s := newScript(t, func(v *visit) {
		v.request()
		v.say("HTTP/1.1 403 Forbidden\r\n\r\nnot you")
	})
	wantClass(t, newPoster(t, s.config()).post(toad), deliver.Refused, "403 Forbidden: not you")
}

// What the other side does to a connection that is idle.
func TestPost_ClosedIdleConnectionCostsNoDelivery(t *testing.T) {
	for name, leave := range map[string]func(v *visit){
		"closed":      func(*visit) {},
		"half closed": func(v *visit) { _ = v.Conn.(*net.TCPConn).CloseWrite(); _ = v.listen() },
		"reset":       func(v *visit) { _ = v.Conn.(*net.TCPConn).SetLinger(0) },
		"408": func(v *visit) {
			v.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			_ = v.listen()
		},
		"an answer to nothing": func(v *visit) { v.say(ok); _ = v.listen() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaving := make(chan struct{})
			s := newScript(t, func(v *visit) {
				v.request()
				v.say(ok)
				if v.number == 1 {
					<-leaving
					leave(v)
					return
				}
				v.serve(ok)
			})
			p := newPoster(t, s.config())
			wantClass(t, p.post(toad), deliver.Delivered)
			close(leaving)
			until(t, "the connection looks closed", func() bool { return p.IdleLooks(toad) == "closed" })
			wantClass(t, p.post(toad), deliver.Delivered)
			wantCount(t, "connections", s.opened.Load(), 2)
			wantCount(t, "requests", s.requests.Load(), 2)
		})
	}
}

func TestPost_TLSTicketsAreNoReasonToCloseAnIdleConnectionAndAGoodbyeIs(t *testing.T) {
	var connections sync.Map
	count := func() (n int64) {
		connections.Range(func(any, any) bool { n++; return true })
		return n
	}
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		w.WriteHeader(http.StatusAccepted)
	})
	config.Signer = constantSigner{}
	p := newPoster(t, config)
	for range 3 {
		wantClass(t, p.post(server.URL+"/inbox"), deliver.Delivered)
	}
	wantCount(t, "connections", count(), 1)
	server.CloseClientConnections()
	until(t, "the connection looks closed", func() bool { return p.IdleLooks(server.URL+"/inbox") == "closed" })
	wantClass(t, p.post(server.URL+"/inbox"), deliver.Delivered)
	wantCount(t, "connections", count(), 2)
}

func TestPost_IsMadeAgainOnceAndOnlyWhereAKeptConnectionGaveNoByteOfAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		turn                  func(v *visit)
		class                 deliver.Class
		requests, connections int64
	}{
		"a kept connection was closed under the request": {func(v *visit) {
			v.request()
			v.say(ok)
			if v.number > 1 {
				v.serve(ok)
			}
			v.request()
		}, deliver.Delivered, 3, 2},
		"a kept connection was reset under the request": {func(v *visit) {
			v.request()
			v.say(ok)
			if v.number > 1 {
				v.serve(ok)
			}
			v.request()
			_ = v.Conn.(*net.TCPConn).SetLinger(0)
		}, deliver.Delivered, 3, 2},
		"and the new one too": {func(v *visit) {
			if v.number == 1 {
				v.request()
				v.say(ok)
			}
			v.request()
		}, deliver.Retry, 3, 2},
		"a kept connection gave half an answer": {func(v *visit) {
			v.request()
			v.say(ok)
			if v.request() {
				v.say("HTTP/1.1 2")
			}
		}, deliver.Retry, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, c.turn)
			p := newPoster(t, s.config())
			wantClass(t, p.post(toad), deliver.Delivered)
			wantClass(t, p.post(toad), c.class)
			wantCount(t, "requests", s.requests.Load(), c.requests)
			wantCount(t, "connections", s.opened.Load(), c.connections)
		})
	}
}

func TestPost_IsNotMadeAgainWhereANewConnectionFails(t *testing.T) {
	s := newScript(t, func(v *visit) { v.request() })
	wantClass(t, newPoster(t, s.config()).post(toad), deliver.Retry, "EOF")
	wantCount(t, "requests", s.requests.Load(), 1)
}

func TestPost_AKeptConnectionThatIsSilentIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s := newScript(t, func(v *visit) {
		v.request()
		v.say(ok)
		v.request()
		_ = v.listen()
	})
	config := s.config()
	config.HeaderTimeout = time.Second // the first answer must come in time
	p := newPoster(t, config)
	wantClass(t, p.post(toad), deliver.Delivered)
	wantClass(t, p.post(toad), deliver.Retry, "timed out", "timeout awaiting")
	wantCount(t, "requests", s.requests.Load(), 2)
}

// endless answers with the text, again and again until the client hangs up.
func endless(text string) func(v *visit) {
	return func(v *visit) {
		v.request()
		v.babble(text)
	}
}

func (v *visit) babble(text string) {
	for {
		if _, err := io.WriteString(v, text); err != nil {
			return
		}
	}
}

func TestPost_AnswerWithoutAnEndIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		turn  func(v *visit)
		class deliver.Class
		words string
	}{
		"hints":       {endless("HTTP/1.1 103 Early Hints\r\n\r\n"), deliver.Retry, "again and again"},
		"long hints":  {endless("HTTP/1.1 103 Early Hints\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n"), deliver.Retry, "headers exceeded"},
		"status line": {endless("HTTP/1.1 2"), deliver.Retry, "headers exceeded"},
		"body": {func(v *visit) {
			v.request()
			v.say("HTTP/1.1 200 OK\r\n\r\n")
			v.babble(strings.Repeat("x", 4096))
		}, deliver.Delivered, ""},
		"chunks of nothing but extensions": {func(v *visit) {
			v.request()
			v.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
			v.babble(strings.Repeat("x", 4096))
		}, deliver.Delivered, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, c.turn)
			p := newPoster(t, s.config())
			within(t, 20*time.Second, func() {
				if out := p.post(toad); out.Class != c.class || !strings.Contains(out.Reason, c.words) {
					t.Errorf("got %+v", out)
				}
			})
			until(t, "the connection is closed", func() bool { return s.connections() == 0 })
		})
	}
}

func TestPost_HeaderThatComesByteByByteMustBeThereInTime(t *testing.T) {
	s := newScript(t, func(v *visit) {
		v.request()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(v, "H"); err != nil {
				return
			}
		}
	})
	config := s.config()
	config.HeaderTimeout = 150 * time.Millisecond
	within(t, 10*time.Second, func() { wantClass(t, newPoster(t, config).post(toad), deliver.Retry, "timeout awaiting") })
}

func TestPost_RequestHasTheHeadersThatReceiversReadAndNoOthers(t *testing.T) {
	var request *http.Request
	var name string
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		request, name = r, r.TLS.ServerName
		w.WriteHeader(http.StatusAccepted)
	})
	config.ConnectTo, config.UserAgent, config.SenderName = server.Listener.Addr().String(), "toad/1", "sender-7"
	p := newPoster(t, config)
	wantClass(t, p.post("https://example.com/users/b%20b/inbox?a=b&c"), deliver.Delivered)
	if request.Host != "example.com" || name != "example.com" || request.RequestURI != "/users/b%20b/inbox?a=b&c" || request.ContentLength != int64(len(p.doc.Body)) {
		t.Errorf("got %+v", request)
	}
	for header, want := range map[string]string{
		"User-Agent": "toad/1", "X-Fedsender-Process": "sender-7", "Content-Type": "application/activity+json", "Digest": p.doc.Digest,
	} {
		if got := request.Header.Values(header); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q", header, got)
		}
	}
	if len(request.Header) != 7 {
		t.Errorf("the header is %v", request.Header)
	}
}

func TestPost_TLSSessionIsResumed(t *testing.T) {
	resumed := make(chan bool, 2)
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		resumed <- r.TLS.DidResume
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusAccepted)
	})
	p := newPoster(t, config)
	for _, want := range []bool{false, true} {
		wantClass(t, p.post(server.URL+"/inbox"), deliver.Delivered)
		if got := <-resumed; got != want {
			t.Errorf("resumed: %v, want %v", got, want)
		}
	}
}

// A connection that waits with its request for a signature would be one that others have to be made beside.
func TestPost_KeptConnectionIsTakenNoSoonerThanTheSignatureHasItsTurn(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	stage := sign.NewStage(sign.Go{}, 1, nil)
	config.Signer = stage
	config.ConnectTo = server.Listener.Addr().String()
	client, doc, key := newClient(t, config), newDocument(t, `{}`), newKey(t)
	var made atomic.Int32
	post := func() { wantClass(t, client.Post(t.Context(), server.URL+"/inbox", doc, key), deliver.Delivered) }
	client.OnConnect(func() { made.Add(1) })
	post()
	if err := stage.Take(t.Context(), "another", false); err != nil {
		t.Fatal(err)
	}
	var group conc.WaitGroup
	for range 5 {
		group.Go(post)
	}
	for stage.Waiting() < 5 {
		runtime.Gosched()
	}
	if idle := client.Idle(); idle != 1 || made.Load() != 1 {
		t.Errorf("%d connections are kept, %d were made", idle, made.Load())
	}
	stage.Give()
	group.Wait()
}
