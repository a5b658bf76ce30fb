//go:build linux

package deadline

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
)

// A request that was written while the link was down lies in the kernel, which would send it when the link is back.
func TestPost_RequestOnALinkThatWasDownDoesNotArriveAfterItWasCanceled(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	h, err := network.NewHost()
	ok(t, err)
	t.Cleanup(func() { ok(t, h.Close()) })
	listener, err := h.Listen("tcp", h.Addr()+":0")
	ok(t, err)
	defer listener.Close()
	client, err := deliver.NewClient(deliver.Config{Policy: deliver.Policy{
		AllowHTTP: true, AllowPrivate: []netip.Prefix{netip.MustParsePrefix(network.Range)},
	}})
	ok(t, err)
	defer client.Close()
	doc, err := deliver.NewDocument([]byte(`{}`))
	ok(t, err)
	key := newKey(t)
	post := func(ctx context.Context) chan deliver.Outcome {
		out := make(chan deliver.Outcome, 1)
		go func() { out <- client.Post(ctx, "http://"+listener.Addr().String()+"/inbox", doc, key) }()
		return out
	}

	first := post(ctx)
	conn, err := listener.Accept()
	ok(t, err)
	defer conn.Close()
	ok(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	ok(t, err)
	_, err = io.Copy(io.Discard, request.Body)
	ok(t, err)
	_, err = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
	ok(t, err)
	if out := <-first; out.Class != deliver.Delivered {
		t.Fatalf("the first request: %+v", out)
	}

	ok(t, h.Vanish())
	lost, cancel := context.WithCancel(ctx)
	second := post(lost)
	peer := conn.RemoteAddr()
	ok(t, fleet.Until(ctx, "the request is in the kernel", func() (bool, error) { return unsent(t, os.Getpid(), localPort(peer)) > 0, nil }))
	cancel()
	if out := <-second; out.Class != deliver.Canceled {
		t.Errorf("the second request: %+v", out)
	}
	ok(t, fleet.Until(ctx, "the socket is gone", func() (bool, error) { return unsent(t, os.Getpid(), localPort(peer)) < 0, nil }))
	ok(t, h.Return())
	// The receiver's own packet finds nobody, and nothing came before that.
	_, err = conn.Write([]byte("x"))
	ok(t, err)
	if n, err := io.Copy(io.Discard, reader); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes arrived, then %v", n, err)
	}
}

func newKey(t *testing.T) *deliver.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	ok(t, err)
	key, err := deliver.ParseKey("https://home.example/u/0#main-key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	ok(t, err)
	return key
}
