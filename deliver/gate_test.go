package deliver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

// gated is a lease as deliver sees it.
type gated struct{ shut, asked atomic.Int64 }

func (g *gated) open() bool {
	g.asked.Add(1)
	return g.shut.Load() == 0
}

func (g *gated) under(t *testing.T) context.Context { return deliver.WithGate(t.Context(), g.open) }

// slowSigner signs when it is told to: a signature waits for its turn where many are made.
type slowSigner struct {
	deliver.Signer
	begun, goOn chan struct{}
}

func (s *slowSigner) Sign(ctx context.Context, r sign.Request) ([]byte, error) {
	signature, err := s.Signer.Sign(ctx, r)
	if err != nil { // there is no connection yet
		return nil, err
	}
	s.begun <- struct{}{}
	<-s.goOn
	return signature, err
}

func TestPost_WhatWasSignedBeforeTheGateShutDoesNotLeave(t *testing.T) {
	var arrived atomic.Int64
	for _, name := range []string{"https", "http", "http, long"} {
		t.Run(name, func(t *testing.T) {
			server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				arrived.Add(1)
				w.WriteHeader(http.StatusAccepted)
			})
			url := server.URL
			if name != "https" {
				plain := newPlainServer(t, server.Config.Handler)
				config.AllowHTTP, url = true, plain
			}
			content := `{}`
			if name == "http, long" {
				content = ofBytes(40 << 10)
			}
			arrived.Store(0)
			signer := &slowSigner{Signer: sign.NewStage(sign.Go{}, 0, nil), begun: make(chan struct{}), goOn: make(chan struct{})}
			config.Signer = signer
			client, doc, key := newClient(t, config), newDocument(t, content), newKey(t)
			var old, current gated
			post := func(g *gated) chan deliver.Outcome {
				out := make(chan deliver.Outcome, 1)
				go func() { out <- client.Post(g.under(t), url+"/inbox", doc, key) }()
				<-signer.begun
				return out
			}
			late := post(&old)
			old.shut.Store(1)
			// Another one is let through on the same client: the gates are not the client's.
			next := post(&current)
			close(signer.goOn)
			wantClass(t, <-late, deliver.Canceled)
			wantClass(t, <-next, deliver.Delivered)
			if n := arrived.Load(); n != 1 {
				t.Errorf("%d requests arrived, want 1", n)
			}
			if old.asked.Load() < 2 {
				t.Error("the gate was not asked before the write")
			}
		})
	}
}

// ofBytes is a document of that length.
func ofBytes(n int) string {
	return `{"content":"` + strings.Repeat("x", n-len(`{"content":""}`)) + `"}`
}

func TestPost_WhatTheSocketTakesAtOnceIsOneWrite(t *testing.T) {
	url := newPlainServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != ofBytes(len(body)) {
			t.Errorf("%d bytes arrived: %v", len(body), err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	client, key := newClient(t, deliver.Config{Policy: deliver.Policy{AllowPrivate: loopback, AllowHTTP: true}}), newKey(t)
	asked := func(bytes int) int64 {
		var g gated
		wantClass(t, client.Post(g.under(t), url+"/inbox", newDocument(t, ofBytes(bytes)), key), deliver.Delivered)
		return g.asked.Load()
	}
	asked(100) // makes the connection
	if short, long := asked(100), asked(40<<10); long != short {
		t.Errorf("the gate was asked %d times for 40 KiB and %d times for 100 bytes", long, short)
	}
}

func newPlainServer(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }() // ends by Close only
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return "http://" + listener.Addr().String()
}

func TestPost_RedirectIsNotFollowedThroughAShutGate(t *testing.T) {
	var g gated
	var second atomic.Int64
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			second.Add(1)
			return
		}
		g.shut.Store(1)
		http.Redirect(w, r, "/moved", http.StatusPermanentRedirect)
	})
	out := newClient(t, config).Post(g.under(t), server.URL+"/inbox", newDocument(t, `{}`), newKey(t))
	wantClass(t, out, deliver.Canceled)
	if second.Load() > 0 {
		t.Error("the redirect was followed")
	}
}

func TestPost_ShutGateIsAskedBeforeAnythingIsDone(t *testing.T) {
	var g gated
	g.shut.Store(1)
	out := newClient(t, deliver.Config{}).Post(g.under(t), "https://nowhere.example/inbox", newDocument(t, `{}`), newKey(t))
	wantClass(t, out, deliver.Canceled)
}

// deaf accepts one connection, takes what the kernel takes for it, and reads when it is told to.
type deaf struct {
	url  string
	conn chan net.Conn
}

func newDeaf(t *testing.T) *deaf {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// The smallest buffer that there is: the request must wait on the sender's side.
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		})
	}}
	listener, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{url: "http://" + listener.Addr().String(), conn: make(chan net.Conn, 1)}
	var group sync.WaitGroup
	group.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			d.conn <- conn
		}
	})
	t.Cleanup(func() { _ = listener.Close(); group.Wait() })
	return d
}

func TestPost_CanceledRequestIsDiscardedByTheKernel(t *testing.T) {
	d := newDeaf(t)
	client := newClient(t, deliver.Config{Policy: deliver.Policy{AllowPrivate: loopback, AllowHTTP: true}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := make(chan deliver.Outcome, 1)
	doc := newDocument(t, `{"content":"`+strings.Repeat("x", 500_000)+`"}`)
	go func() { out <- client.Post(ctx, d.url+"/inbox", doc, newKey(t)) }()
	conn := <-d.conn
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 100)
	if _, err := io.ReadFull(conn, first); err != nil || !strings.HasPrefix(string(first), "POST /inbox") {
		t.Fatalf("got %q, %v", first, err)
	}
	cancel()
	wantClass(t, <-out, deliver.Canceled)
	rest, err := io.Copy(io.Discard, conn)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v after %d more bytes, want a reset", err, rest)
	}
	if rest > 450_000 {
		t.Errorf("%d more bytes arrived", rest)
	}
}

func TestPost_IdleConnectionIsClosedWithoutReset(t *testing.T) {
	d := newDeaf(t)
	client := newClient(t, deliver.Config{Policy: deliver.Policy{AllowPrivate: loopback, AllowHTTP: true}})
	out := make(chan deliver.Outcome, 1)
	go func() { out <- client.Post(t.Context(), d.url+"/inbox", newDocument(t, `{}`), newKey(t)) }()
	conn := <-d.conn
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var request strings.Builder
	for buffer := make([]byte, 1); !strings.HasSuffix(request.String(), "\r\n\r\n{}"); request.Write(buffer) {
		if _, err := conn.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	wantClass(t, <-out, deliver.Delivered)
	client.Close()
	if n, err := io.Copy(io.Discard, conn); n != 0 || err != nil {
		t.Errorf("got %d more bytes and %v, want the end", n, err)
	}
}
