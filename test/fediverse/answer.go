package fediverse

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// StatusClientGone is what the ledger says of a request whose client left before it was answered (as in nginx).
const StatusClientGone = 499

// Answer answers a request. It may block; when it returns without an answer the connection is closed.
type Answer func(*Exchange)

// Exchange is a request that was verified, and the means to answer it. It belongs to the goroutine of its Answer and
// ends with it.
type Exchange struct {
	Domain   string
	Path     string // of the inbox, with its query
	Activity string // the id of the activity
	Process  string // X-Fedsender-Process
	KeyID    string // of the key that signed it
	Body     []byte // valid until the Answer returns

	f          *Fediverse
	w          http.ResponseWriter
	r          *http.Request
	arrived    time.Time
	connection uint32 // for the ledger
	delivery   int    // in the ledger
	status     int    // for the ledger, when it is settled
	settled    bool   // the ledger has it
	replied    bool   // net/http has an answer, or no longer the connection
}

// Context ends when the client or the fediverse goes away.
func (x *Exchange) Context() context.Context { return x.r.Context() }

// Encrypted says whether the request came over TLS.
func (x *Exchange) Encrypted() bool {
	c, ok := x.r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return false
	}
	_, encrypted := c.serverName()
	return encrypted
}

// Header is that of the answer, to be changed before Reply.
func (x *Exchange) Header() http.Header { return x.w.Header() }

// Reply answers with a status and no body.
func (x *Exchange) Reply(status int) {
	x.settle(status)
	x.replied = true
	x.w.WriteHeader(status)
}

// Wait returns true after d, or false at once when the client or the fediverse goes away: then the ledger gets
// StatusClientGone unless something was accepted before.
func (x *Exchange) Wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.r.Context().Done():
	case <-x.f.closing:
	}
	if x.status == 0 {
		x.status = StatusClientGone
	}
	return false
}

// settle writes the outcome to the ledger: it must stand there before the client can read it.
func (x *Exchange) settle(status int) {
	if !x.settled {
		x.settled, x.status = true, status
		x.f.ledger.end(x.delivery, status)
	}
}

// finish is deferred. It settles what the answer left open, and ends the connection when there was no answer. A panic
// of an Answer, which net/http would swallow, becomes a Violation.
func (x *Exchange) finish() {
	if panicked := recover(); panicked != nil && panicked != http.ErrAbortHandler {
		x.f.ledger.violate(x.delivery, fmt.Sprintf("its Answer panicked: %v", panicked))
	}
	x.settle(x.status)
	if !x.replied {
		panic(http.ErrAbortHandler) // the way of net/http to close without an answer
	}
}

// take gives the socket to the answer, with what HTTP puts on it left out. The ledger gets the status.
func (x *Exchange) take(status int) (c *connection, ok bool) {
	x.settle(status)
	taken, _, err := x.w.(http.Hijacker).Hijack()
	if err != nil {
		return nil, false
	}
	x.replied = true
	return taken.(*connection), true
}

// OK answers 202, as Mastodon does.
func OK(x *Exchange) { x.Reply(http.StatusAccepted) }

// Gone answers 410.
func Gone(x *Exchange) { x.Reply(http.StatusGone) }

// Status answers with a code and headers given as names and values in turn.
func Status(code int, headers ...string) Answer {
	return func(x *Exchange) {
		for i := 0; i+1 < len(headers); i += 2 {
			x.Header().Set(headers[i], headers[i+1])
		}
		x.Reply(code)
	}
}

// RetryAfter answers with a code, such as 429 or 503, and Retry-After in whole seconds.
func RetryAfter(code int, d time.Duration) Answer {
	return Status(code, "Retry-After", strconv.Itoa(int(d.Seconds())))
}

// RetryAfterDate is RetryAfter with a date so far from the request.
func RetryAfterDate(code int, d time.Duration) Answer {
	return func(x *Exchange) {
		Status(code, "Retry-After", time.Now().Add(d).UTC().Format(http.TimeFormat))(x)
	}
}

// Redirect answers with a code, such as 308, and a Location.
func Redirect(code int, location string) Answer { return Status(code, "Location", location) }

// Explained answers with a code and a text, as servers do that say why they refuse.
func Explained(code int, contentType, text string) Answer {
	return func(x *Exchange) {
		x.Header().Set("Content-Type", contentType)
		x.Reply(code)
		_, _ = io.WriteString(x.w, text) // the client may be gone
	}
}

// Slow gives the answer after d. A client that does not wait for it was not answered: [StatusClientGone].
func Slow(d time.Duration, answer Answer) Answer {
	return func(x *Exchange) {
		if x.Wait(d) {
			answer(x)
		}
	}
}

// Late accepts at once and says so after d, whether somebody still listens or not: what a sender times out on and
// repeats without need.
func Late(d time.Duration) Answer {
	return func(x *Exchange) {
		x.status = http.StatusAccepted
		x.f.ledger.accept(x.delivery, x.status)
		if x.Wait(d) {
			x.Reply(x.status)
		}
	}
}

// Hang never answers. It ends with the connection or the fediverse.
func Hang(x *Exchange) {
	select {
	case <-x.r.Context().Done():
	case <-x.f.closing:
	}
}

// Reset takes the request and resets the connection without an answer.
func Reset(x *Exchange) {
	if c, ok := x.take(0); ok {
		c.reset()
	}
}

// HangUp takes the request and closes the connection without an answer.
func HangUp(x *Exchange) {
	if c, ok := x.take(0); ok {
		_ = c.Close()
	}
}

// Rubbish answers with what is no HTTP.
func Rubbish(x *Exchange) {
	if c, ok := x.take(0); ok {
		writeAndClose(c, "220 mail.example ESMTP\r\n")
	}
}

func writeAndClose(c net.Conn, text string) {
	_, _ = io.WriteString(c, text) // the client may be gone
	_ = c.Close()
}
