package deliver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// errTimeout is the cause of a request that its own time-out ended.
var errTimeout = errors.New("the request timed out")

// Post sends the document, signed with the key, to the inbox and waits for the answer: at most the request
// time-out, in which the wait for a turn of the [Signer] is not counted.
// The URL is checked by the policy, its addresses by the guard when the connection is made. Through a proxy only the
// proxy knows the address, so there the guard is left with address literals and local names.
//
// The signature is made when the connection stands, right before the request leaves: its Date is never old, and a
// server that can't be reached costs no signature. When ctx ends, or its gate shuts (see [WithGate]), the connection is
// reset and the outcome is Canceled; a request that has left altogether may still have been taken.
func (c *Client) Post(ctx context.Context, inbox string, doc *Document, key *Key) Outcome {
	return c.PostTraced(ctx, inbox, doc, key, nil)
}

// PostTraced is [Client.Post] for who wants to know what it does meanwhile. A nil trace wants to know nothing.
func (c *Client) PostTraced(ctx context.Context, inbox string, doc *Document, key *Key, trace *Trace) Outcome {
	gate := gateOf(ctx)
	if ctx.Err() != nil || gate.shut() {
		return canceled()
	}
	target, err := c.config.CheckInbox(inbox)
	if err != nil {
		return Outcome{Class: Unusable, Reason: err.Error()}
	}
	timed, timer := withPatience(ctx, c.config.RequestTimeout, errTimeout)
	defer timer.end()
	for redirects := 0; ; redirects++ {
		a := &attempt{client: c, url: target, doc: doc, key: key, gate: gate, trace: trace, patience: timer}
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
	trace  *Trace // nil: nobody is told

	patience *patience // of Post

	proxied    bool
	from       *idlePool    // the signature is made for a connection of it, or not at all; nil: for any
	kept       *conn        // that one
	begun      bool         // a connection was made for it
	date       string       // of the last signing string
	parameters string       // of the last signature base
	signed     []headerLine // with the signature, the date first; made again for another connection
	signErr    error
}

type headerLine struct{ name, value string }

// answer is what is left of a response when the connection is done with it.
type answer struct {
	status int
	header http.Header
	text   string // the first line of a body that says why not
}

// exchanger makes the request of an attempt: it finds a connection, signs, sends, and reads the answer. Its error means
// that there was none.
type exchanger interface {
	exchange(ctx context.Context, a *attempt) (*answer, error)
	// close closes what is idle.
	close()
}

// do makes the request. location is set when the answer is a redirect to follow.
func (a *attempt) do(ctx context.Context) (out Outcome, location string) {
	answer, err := a.exchange(ctx)
	if err != nil {
		return a.failure(ctx, err), ""
	}
	out = classify(answer.status, answer.header, a.client.config.Now())
	switch answer.status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if a.client.config.RefuseRedirects {
			out.Reason = printable(statusText(out.Status) + ": the inbox redirects to " + shownLocation(a.url, answer.header.Get("Location")) +
				", where servers of this kind do not send")
			return out, ""
		}
		if location = answer.header.Get("Location"); location == "" {
			out.Reason = statusText(out.Status) + " without a Location"
		}
		return out, location
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		out.Reason = printable(statusText(out.Status) + ": the inbox redirects to " + shownLocation(a.url, answer.header.Get("Location")) +
			" in a way that turns a POST into a GET; its operator should use 308")
		return out, ""
	case http.StatusProxyAuthRequired:
		// The proxy's answer says nothing about the inbox.
		if a.proxied {
			return Outcome{Class: Retry, Status: out.Status, Reason: "the proxy wants other credentials (HTTPS_PROXY)"}, ""
		}
	}
	if out.Class != Delivered {
		out.Reason = statusText(out.Status)
		if answer.text != "" {
			out.Reason = printable(out.Reason + ": " + answer.text)
		}
	}
	return out, ""
}

// exchange takes the operator's proxy, where there is one for the URL.
func (a *attempt) exchange(ctx context.Context) (*answer, error) {
	proxy, err := a.client.config.Proxy(a.url)
	switch {
	case err != nil:
		// The error may quote the proxy's URL with its password.
		return nil, errors.New("the proxy setting is not a valid URL (HTTPS_PROXY)")
	case proxy == nil:
		return a.client.direct.exchange(ctx, a)
	}
	a.proxied = true
	return a.client.proxied.exchange(context.WithValue(ctx, proxyKey{}, proxy), a)
}

// readAnswer reads the body to its end so that the connection can be used again, but not more than maxAnswerBytes. The
// status is the answer: what goes wrong here costs the connection and nothing else. whole says that nothing is left.
func readAnswer(response *http.Response) (read *answer, whole bool) {
	read = &answer{status: response.StatusCode, header: response.Header}
	if response.Body == http.NoBody {
		return read, true
	}
	limited := &io.LimitedReader{R: response.Body, N: maxAnswerBytes}
	if response.StatusCode > 299 {
		start, err := io.ReadAll(io.LimitReader(limited, 1024))
		read.text = firstLine(response.Header.Get("Content-Type"), start)
		if err != nil {
			return read, false
		}
	}
	_, err := io.Copy(io.Discard, limited)
	return read, err == nil && limited.N > 0
}
