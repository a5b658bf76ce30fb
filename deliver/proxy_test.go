package deliver_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/fedsender/fedsender/deliver"
)

// proxy is an HTTP proxy that connects every CONNECT to one address, and counts.
func proxyTo(t *testing.T, address string) (*url.URL, *script) {
	t.Helper()
	s := newScript(t, func(v *visit) {
		r, err := http.ReadRequest(v.reader)
		if err != nil || r.Method != http.MethodConnect || r.Host != "toad.example:443" && r.Host != "example.com:443" {
			v.say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return
		}
		behind, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		v.script.requests.Add(1)
		v.say("HTTP/1.1 200 Connection established\r\n\r\n")
		copied := make(chan struct{})
		go func() { defer close(copied); _, _ = io.Copy(v, bufio.NewReader(behind)) }()
		_, _ = io.Copy(behind, v.reader)
		_ = behind.Close()
		<-copied
	})
	return &url.URL{Scheme: "http", Host: s.address}, s
}

func TestPost_TakesTheProxyThatTheOperatorNames(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "toad.example" || r.Header.Get("Signature") == "" || r.Header.Get("Date") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	proxy, script := proxyTo(t, server.Listener.Addr().String())
	config.Proxy = func(target *url.URL) (*url.URL, error) {
		if target.Host == "toad.example" {
			return proxy, nil
		}
		return nil, nil
	}
	config.CAFile = "" // the certificate is for example.com: that the proxy was used must show before it matters
	p := newPoster(t, config)
	wantClass(t, p.post("https://toad.example/inbox"), deliver.Retry, "certificate of toad.example")
	wantCount(t, "tunnels", script.requests.Load(), 1)
}

func TestPost_ProxyThatWantsCredentialsIsNoAnswerOfTheInbox(t *testing.T) {
	s := newScript(t, func(v *visit) {
		v.serve("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
	})
	config := deliver.Config{Policy: deliver.Policy{AllowHTTP: true}, Proxy: func(*url.URL) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: s.address}, nil
	}}
	wantClass(t, post(t, config, "http://toad.example/inbox"), deliver.Retry, "the proxy wants other credentials")
	wantCount(t, "requests", s.requests.Load(), 1)
}
