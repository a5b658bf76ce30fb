package deliver

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// proxied makes requests that go through a proxy, by net/http: they are rare, and what proxies want (CONNECT, SOCKS,
// credentials) is no part of an exchange.
type proxied struct {
	config    *Config
	transport atomic.Pointer[http.Transport]
}

// newProxied shares the dialer and the settings of TLS with direct connections.
func newProxied(config *Config, d *direct) *proxied {
	p := &proxied{config: config}
	p.renew(d)
	return p
}

// renew has new connections made as direct ones are, and closes those that are kept.
func (p *proxied) renew(d *direct) {
	config := p.config
	var protocols http.Protocols
	protocols.SetHTTP1(true) // as direct connections do
	old := p.transport.Swap(&http.Transport{
		Protocols:              &protocols,
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxyOf(r.Context()), nil },
		DialContext:            d.dialer.dialContext,
		TLSClientConfig:        d.tls.Load().Clone(),
		TLSHandshakeTimeout:    config.TLSTimeout,
		ResponseHeaderTimeout:  config.HeaderTimeout,
		IdleConnTimeout:        config.IdleTimeout,
		MaxIdleConns:           config.MaxIdle,
		MaxIdleConnsPerHost:    config.MaxIdlePerHost,
		MaxResponseHeaderBytes: maxAnswerBytes,
		WriteBufferSize:        sendBufferBytes,
		DisableCompression:     true,
	})
	if old != nil {
		old.CloseIdleConnections()
	}
}

func (p *proxied) close() { p.transport.Load().CloseIdleConnections() }

func (p *proxied) exchange(ctx context.Context, a *attempt) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var conn *gatedConn // of the last request that was made
	request := a.request()
	// GotConn runs in the goroutine of RoundTrip, before anything is written, and again for each new connection.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if conn = gatedUnder(got.Conn); conn != nil {
			conn.begin(a)
		}
		if err := a.sign(ctx); err != nil {
			cancel(err)
		}
		for _, line := range a.signed {
			request.Header.Set(line.name, line.value)
		}
	}})
	response, err := p.transport.Load().RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer func(body io.Closer) { _ = body.Close() }(response.Body) // what it says no longer matters
	// After 101 the connection is no longer HTTP, and no time-out but the other side's would end a read from it.
	if response.StatusCode == http.StatusSwitchingProtocols {
		response.Body = http.NoBody
	}
	timer := time.AfterFunc(bodyTimeout, func() { cancel(errTimeout) })
	defer timer.Stop()
	read, _ := readAnswer(response)
	if conn != nil {
		conn.end(a)
	}
	return read, nil
}

func (a *attempt) request() *http.Request {
	config := &a.client.config
	header := http.Header{
		"Content-Type": {contentType},
		"Digest":       {a.doc.Digest},
		"User-Agent":   {config.UserAgent},
		// Tells net/http that the request may be repeated when a kept connection turns out to be closed: receivers
		// know activities by their id. With no value it is not sent.
		"Idempotency-Key": nil,
	}
	if config.SenderName != "" {
		header["X-Fedsender-Process"] = []string{config.SenderName}
	}
	if line := a.trace.header(); line.value != "" {
		header[line.name] = []string{line.value}
	}
	return &http.Request{
		Method: http.MethodPost, URL: a.url, Host: a.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		Body:          a.body(),
		GetBody:       func() (io.ReadCloser, error) { return a.body(), nil },
		ContentLength: int64(len(a.doc.Body)),
	}
}

func (a *attempt) body() io.ReadCloser {
	return &body{Reader: bytes.NewReader(a.doc.Body), attempt: a}
}

// body fails where the signature failed. The header is in the write buffer then, so an unsigned request never leaves.
type body struct {
	*bytes.Reader
	attempt *attempt
}

func (b *body) Read(p []byte) (int, error) {
	if b.attempt.signErr != nil {
		return 0, b.attempt.signErr
	}
	return b.Reader.Read(p)
}

func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.attempt.signErr != nil {
		return 0, b.attempt.signErr
	}
	return b.Reader.WriteTo(w)
}

func (b *body) Close() error { return nil }
