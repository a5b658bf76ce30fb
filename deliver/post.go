package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"
)

// errTimeout is the cause of a request that its own time-out ended.
var errTimeout = errors.New("the request timed out")

// Post sends the document, signed with the key, to the inbox and waits for the answer: at most the request time-out.
// The URL is checked by the policy, its addresses by the guard when the connection is made. Through a proxy only the
// proxy knows the address, so there the guard is left with address literals and local names.
//
// The signature is made when the connection stands, right before the request leaves: its Date is never old, and a
// server that can't be reached costs no signature. When ctx ends, or its gate shuts (see [WithGate]), the connection is
// reset and the outcome is Canceled; a request that has left altogether may still have been taken.
func (c *Client) Post(ctx context.Context, inbox string, doc *Document, key *Key) Outcome {
	gate := gateOf(ctx)
	if ctx.Err() != nil || gate.shut() {
		return canceled()
	}
	target, err := c.config.CheckInbox(inbox)
	if err != nil {
		return Outcome{Class: Unusable, Reason: err.Error()}
	}
	timed, cancel := context.WithTimeoutCause(ctx, c.config.RequestTimeout, errTimeout)
	defer cancel()
	for redirects := 0; ; redirects++ {
		a := &attempt{client: c, url: target, doc: doc, key: key, gate: gate}
		out, location := a.do(timed)
		if out.Status == 0 && (ctx.Err() != nil || gate.shut()) {
			return canceled()
		}
		if location == "" {
			return out
		}
		if redirects == maxRedirects {
			out.Reason = printable(statusText(out.Status) + ": redirected more than 3 times, last to " + shownLocation(target, location))
			return out
		}
		next, err := target.Parse(location)
		if err != nil {
			out.Reason = statusText(out.Status) + ": redirected to what is not a URL"
			return out
		}
		if target, err = c.config.CheckInbox(next.String()); err != nil {
			return Outcome{Class: Unusable, Status: out.Status, Reason: printable("redirected to where nothing may be sent: " + err.Error())}
		}
	}
}

func canceled() Outcome {
	return Outcome{Class: Canceled, Reason: "stopped before there was an answer"}
}

// attempt is one request to one URL.
type attempt struct {
	client *Client
	url    *url.URL
	doc    *Document
	key    *Key
	gate   *gate

	conn    *gatedConn // of the last request that was made
	header  http.Header
	date    string // of the signature in the header
	signErr error
}

// do makes the request. location is set when the answer is a redirect to follow.
func (a *attempt) do(ctx context.Context) (out Outcome, location string) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := a.roundTrip(ctx, cancel)
	if err != nil {
		return a.failure(ctx, err), ""
	}
	defer func() { _ = response.Body.Close() }() // what it says no longer matters
	out = classify(response.StatusCode, response.Header, a.client.config.Now())
	text := readAnswer(response, cancel)
	if a.conn != nil {
		a.conn.end(a)
	}
	switch response.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if location = response.Header.Get("Location"); location == "" {
			out.Reason = statusText(out.Status) + " without a Location"
		}
		return out, location
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		out.Reason = printable(statusText(out.Status) + ": the inbox redirects to " + shownLocation(a.url, response.Header.Get("Location")) +
			" in a way that turns a POST into a GET; its operator should use 308")
		return out, ""
	case http.StatusProxyAuthRequired:
		// The proxy's answer says nothing about the inbox.
		if proxyOf(response.Request.Context()) != nil {
			return Outcome{Class: Retry, Status: out.Status, Reason: "the proxy wants other credentials (HTTPS_PROXY)"}, ""
		}
	}
	if out.Class != Delivered {
		out.Reason = statusText(out.Status)
		if text != "" {
			out.Reason = printable(out.Reason + ": " + text)
		}
	}
	return out, ""
}

func (a *attempt) roundTrip(ctx context.Context, cancel context.CancelCauseFunc) (*http.Response, error) {
	config := &a.client.config
	a.header = http.Header{
		"Content-Type": {"application/activity+json"},
		"Digest":       {a.doc.Digest},
		"User-Agent":   {config.UserAgent},
		// Tells net/http that the request may be repeated when a kept connection turns out to be closed: receivers
		// know activities by their id. With no value it is not sent.
		"Idempotency-Key": nil,
	}
	if config.SenderName != "" {
		a.header["X-Fedsender-Process"] = []string{config.SenderName}
	}
	request := &http.Request{
		Method: http.MethodPost, URL: a.url, Host: a.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        a.header,
		Body:          a.body(),
		GetBody:       func() (io.ReadCloser, error) { return a.body(), nil },
		ContentLength: int64(len(a.doc.Body)),
	}
	proxy, err := config.Proxy(request)
	if err != nil {
		// The error may quote the proxy's URL with its password.
		return nil, errors.New("the proxy setting is not a valid URL (HTTPS_PROXY)")
	}
	if proxy != nil {
		ctx = context.WithValue(ctx, proxyKey{}, proxy)
	}
	// GotConn runs in the goroutine of RoundTrip, before anything is written, and again for each new connection.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if a.conn = gatedUnder(got.Conn); a.conn != nil {
			a.conn.begin(a)
		}
		if err := a.sign(ctx); err != nil {
			a.signErr = err
			cancel(err)
		}
	}})
	return a.client.transport.RoundTrip(request.WithContext(ctx))
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

// readAnswer reads the body to its end so that the connection can be used again, but not more than maxAnswerBytes and
// not longer than bodyTimeout: what is left then is closed with the connection. It returns the first line unless the
// answer is a 2xx.
func readAnswer(response *http.Response, cancel context.CancelCauseFunc) string {
	// After 101 the connection is no longer HTTP, and no time-out but the other side's would end a read from it.
	if response.Body == http.NoBody || response.StatusCode == http.StatusSwitchingProtocols {
		return ""
	}
	timer := time.AfterFunc(bodyTimeout, func() { cancel(errTimeout) })
	defer timer.Stop()
	limited := io.LimitReader(response.Body, maxAnswerBytes)
	text := ""
	if response.StatusCode > 299 {
		start, err := io.ReadAll(io.LimitReader(limited, 1024))
		text = firstLine(response.Header.Get("Content-Type"), start)
		if err != nil {
			return text
		}
	}
	// The status is the answer; an error here costs the connection and nothing else.
	_, _ = io.Copy(io.Discard, limited)
	return text
}
