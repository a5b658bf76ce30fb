package deliver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
)

func TestPost_EveryAnswerHasItsClass(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 5, 7, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	cases := []struct {
		status     int
		header     string // "Name: value"
		class      deliver.Class
		retryAfter time.Duration
	}{
		{status: 200, class: deliver.Delivered}, {status: 201, class: deliver.Delivered}, {status: 202, class: deliver.Delivered},
		{status: 204, class: deliver.Delivered}, {status: 299, class: deliver.Delivered},
		{status: 300, class: deliver.Retry}, {status: 301, class: deliver.Retry}, {status: 302, class: deliver.Retry},
		{status: 303, class: deliver.Retry}, {status: 304, class: deliver.Retry}, {status: 307, class: deliver.Retry}, {status: 308, class: deliver.Retry},
		{status: 400, class: deliver.Refused}, {status: 401, class: deliver.Unauthorized}, {status: 402, class: deliver.Refused},
		{status: 403, class: deliver.Refused}, {status: 404, class: deliver.Refused}, {status: 405, class: deliver.Refused},
		{status: 406, class: deliver.Refused}, {status: 407, class: deliver.Refused}, {status: 409, class: deliver.Refused},
		{status: 408, class: deliver.Retry}, {status: 425, class: deliver.Retry},
		{status: 410, class: deliver.Gone}, {status: 418, class: deliver.Gone},
		{status: 413, class: deliver.Refused}, {status: 421, class: deliver.Refused}, {status: 422, class: deliver.Refused},
		{status: 451, class: deliver.Refused}, {status: 499, class: deliver.Refused}, {status: 501, class: deliver.Refused},
		{status: 500, class: deliver.Retry}, {status: 502, class: deliver.Retry}, {status: 503, class: deliver.Retry},
		{status: 504, class: deliver.Retry}, {status: 522, class: deliver.Retry}, {status: 530, class: deliver.Retry},
		{status: 600, class: deliver.Retry}, {status: 999, class: deliver.Retry},
		{429, "", deliver.Throttled, 0},
		{429, "Retry-After: soon", deliver.Throttled, 0},
		{429, "Retry-After: -5", deliver.Throttled, 0},
		{429, "Retry-After: 90", deliver.Throttled, 90 * time.Second},
		{429, "Retry-After: 0", deliver.Throttled, time.Second},
		{429, "Retry-After: 99999999999999999999999", deliver.Throttled, 24 * time.Hour},
		{429, "Retry-After: " + in(2*time.Minute), deliver.Throttled, 2 * time.Minute},
		{429, "Retry-After: " + in(-time.Hour), deliver.Throttled, time.Second},
		{429, "Retry-After: " + in(48*time.Hour), deliver.Throttled, 24 * time.Hour},
		{429, fmt.Sprintf("X-RateLimit-Reset: %d", now.Add(time.Hour).Unix()), deliver.Throttled, time.Hour},
		{429, fmt.Sprintf("X-RateLimit-Reset: %d", now.Add(time.Hour).UnixMilli()), deliver.Throttled, time.Hour},
		{429, "X-RateLimit-Reset: 30", deliver.Throttled, 30 * time.Second},
		{429, "X-RateLimit-Reset: 2026-11-02T09:10:07.000000Z", deliver.Throttled, 5 * time.Minute},
		{429, "X-RateLimit-Reset: tomorrow", deliver.Throttled, 0},
		{503, "Retry-After: 120", deliver.Throttled, 2 * time.Minute},
		{503, "Retry-After: whenever", deliver.Retry, 0},
		{503, "X-RateLimit-Reset: 30", deliver.Retry, 0},
		{500, "Retry-After: 120", deliver.Retry, 0},
		{403, "Retry-After: 120", deliver.Refused, 0},
	}
	var answer struct {
		status      int
		name, value string
	}
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if answer.name != "" {
			w.Header().Set(answer.name, answer.value)
		}
		w.WriteHeader(answer.status)
	})
	config.Now = func() time.Time { return now }
	client, doc, key := newClient(t, config), newDocument(t, `{}`), newKey(t)
	for _, c := range cases {
		answer.status = c.status
		answer.name, answer.value, _ = strings.Cut(c.header, ": ")
		out := client.Post(t.Context(), server.URL, doc, key)
		if out.Class != c.class || out.RetryAfter != c.retryAfter || out.Status != c.status {
			t.Errorf("%d with %q: got %+v, want %s after %s", c.status, c.header, out, c.class, c.retryAfter)
		}
		if (out.Reason == "") != (c.class == deliver.Delivered) {
			t.Errorf("%d: the reason is %q", c.status, out.Reason)
		}
	}
}

func TestPost_ReasonHoldsTheFirstLineOfTheAnswerMadeHarmless(t *testing.T) {
	var contentType, body string
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(body))
	})
	for _, c := range []struct{ contentType, body, want string }{
		{"application/json", `{"error":"couldnt_find_object"}`, `400 Bad Request: {"error":"couldnt_find_object"}`},
		{"text/plain", "\r\n\n  no \x1b[31mred\u202e\x00 ink\nsecond", "400 Bad Request: no [31mred ink"},
		{"text/html; charset=utf-8", "<h1>Bad</h1>", "400 Bad Request"},
		{"", "<!doctype html>", "400 Bad Request"},
		{"text/plain", "\xff\xfe\n", "400 Bad Request"},
		{"text/plain", strings.Repeat("ä", 5000), "400 Bad Request: " + strings.Repeat("ä", 182) + "…"},
	} {
		contentType, body = c.contentType, c.body
		out := post(t, config, server.URL)
		wantClass(t, out, deliver.Refused)
		if out.Reason != c.want {
			t.Errorf("%q: got %q, want %q", c.body, out.Reason, c.want)
		}
	}
}

func TestClass_StringIsOneLowerCaseWord(t *testing.T) {
	seen := map[string]bool{}
	for class := deliver.Delivered; class <= deliver.Canceled; class++ {
		seen[class.String()] = true
	}
	if len(seen) != 8 || seen["unknown"] || deliver.Class(0).String() != "unknown" {
		t.Errorf("the names are %v", seen)
	}
}
