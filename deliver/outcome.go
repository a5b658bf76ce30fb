package deliver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Class is what an answer, or its absence, means for the delivery.
type Class uint8

const (
	// Delivered: the inbox took it (any 2xx).
	Delivered Class = iota + 1
	// Refused for good; the instance is up.
	Refused
	// Retry later: the instance or the way to it is broken.
	Retry
	// Unauthorized (401): the receiver may not have been able to fetch the key. Retry a few times; the instance is up.
	Unauthorized
	// Throttled: the instance asks for a pause.
	Throttled
	// Gone (410, 418): the inbox, or with a shared inbox the instance, says that it is no more.
	Gone
	// Unusable: the policy forbids to send there. Never retried.
	Unusable
	// Canceled: the caller's context ended before there was an answer. It was no attempt.
	Canceled
)

// String is the label for metrics and logs.
func (c Class) String() string {
	switch c {
	case Delivered:
		return "delivered"
	case Refused:
		return "refused"
	case Retry:
		return "retry"
	case Unauthorized:
		return "unauthorized"
	case Throttled:
		return "throttled"
	case Gone:
		return "gone"
	case Unusable:
		return "unusable"
	case Canceled:
		return "canceled"
	}
	return "unknown"
}

// Outcome is how one POST ended.
type Outcome struct {
	Class Class
	// Status is the HTTP status, or 0 when there was no answer.
	Status int
	// RetryAfter is the pause that a Throttled answer asks for, from 1 s to 24 h; 0 when it does not say.
	RetryAfter time.Duration
	// Reason is one printable line of at most 200 characters for the operator; empty when Delivered. It holds no
	// secret, but may hold words of the remote server.
	Reason string
}

const (
	minRetryAfter = time.Second    // below it a pause is none
	maxRetryAfter = 24 * time.Hour // a longer one would outlast what operators expect of a mistaken header
)

// classify reads an answer that is no redirect to follow. The status decides, whatever the body does.
func classify(status int, header http.Header, now time.Time) Outcome {
	out := Outcome{Status: status}
	switch {
	case status >= 200 && status <= 299:
		out.Class = Delivered
	case status == http.StatusUnauthorized:
		out.Class = Unauthorized
	case status == http.StatusTooManyRequests:
		out.Class = Throttled
		out.RetryAfter, _ = pause(header, now)
	case status == http.StatusServiceUnavailable:
		out.Class = Retry
		if wait, ok := retryAfter(header.Get("Retry-After"), now); ok {
			out.Class, out.RetryAfter = Throttled, wait
		}
	case status == http.StatusGone || status == http.StatusTeapot:
		out.Class = Gone
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		out.Class = Retry
	case status >= 400 && status <= 499 || status == http.StatusNotImplemented:
		out.Class = Refused
	default:
		// 5xx; a redirect that is not followed; a status that HTTP does not know.
		out.Class = Retry
	}
	return out
}

// statusText is "404 Not Found", or the bare number of a status without a name.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d %s", status, text)
	}
	return strconv.Itoa(status)
}

// pause is the time that a 429 asks for.
func pause(header http.Header, now time.Time) (time.Duration, bool) {
	if wait, ok := retryAfter(header.Get("Retry-After"), now); ok {
		return wait, true
	}
	return rateLimitReset(header.Get("X-RateLimit-Reset"), now)
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3): seconds or an HTTP date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if isDigits(value) {
		return clampSeconds(value), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return clampPause(at.Sub(now)), true
}

// rateLimitReset reads X-RateLimit-Reset, which no standard defines: Mastodon and GoToSocial write ISO 8601, others
// seconds since 1970, and the drafts for RateLimit headers seconds from now.
func rateLimitReset(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil || seconds < 1e9: // a small number is no date after 2001
			return clampSeconds(value), true
		case seconds >= 1e12:
			return clampPause(time.UnixMilli(seconds).Sub(now)), true
		}
		return clampPause(time.Unix(seconds, 0).Sub(now)), true
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return 0, false
	}
	return clampPause(at.Sub(now)), true
}

// clampSeconds reads digits; those that overflow are as good as for ever.
func clampSeconds(digits string) time.Duration {
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seconds > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return clampPause(time.Duration(seconds) * time.Second)
}

func clampPause(d time.Duration) time.Duration {
	return min(max(d, minRetryAfter), maxRetryAfter)
}
