package page_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
)

// attack is a line of the table: what was tried and what it got.
type attack struct{ what, got string }

func TestAttack_WithoutATokenNobodyActsAndOnlyThisMachineReads(t *testing.T) {
	s := serve(t, "")
	var table []attack
	note := func(what string, got answer, want int) {
		t.Helper()
		table = append(table, attack{what, fmt.Sprint(got.status)})
		require.Equal(t, want, got.status, "%s: %s", what, got.body)
	}
	note("no token is set, a browser on this machine reads", s.get(t, "/"), 200)
	rebound := func(r *http.Request) { r.Host = "evil.example" }
	for _, path := range []string{"/", "/instances", "/events?of=/", "/history.json", "/trace"} {
		note("no token is set, "+path+" under a name that another site made lead here", s.do(t, http.MethodGet, path, nil, rebound), 403)
	}
	proxied := func(r *http.Request) { r.Header.Set("X-Real-IP", "192.0.2.1") }
	note("no token is set, / through a proxy on this machine", s.do(t, http.MethodGet, "/", nil, proxied), 403)
	for _, path := range []string{"/instance/pause", "/instance/skip", "/dead-letters/drop"} {
		note("no token is set, POST "+path, s.do(t, http.MethodPost, path, url.Values{"domain": {"i-1.example"}}, nil), 403)
		note("no token is set, GET "+path, s.get(t, path+"?domain=i-1.example"), 403)
	}
	note("no token is set, login with an empty one", s.do(t, http.MethodPost, "/login", url.Values{"token": {""}}, nil), 403)
	note("no token is set, an empty bearer token", s.do(t, http.MethodPost, "/instance/skip", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }), 403)
	show(t, table)
	require.Equal(t, 30, s.number(t, `select count(*) from fedsender.dead_letter`))
}

func TestAttack_WithATokenStrangersGetNothing(t *testing.T) {
	s := serve(t, token)
	var table []attack
	note := func(what string, got answer, want int) {
		t.Helper()
		table = append(table, attack{what, fmt.Sprint(got.status)})
		require.Equal(t, want, got.status, "%s: %s", what, got.body)
	}
	pauseIt := url.Values{"domain": {"i-5.example"}}
	for _, path := range []string{"/", "/instances", "/instance?domain=i-1.example", "/dead-letters", "/trace?id=x", "/instance/pause?domain=i-1.example"} {
		got := s.get(t, path)
		note("no token, GET "+path, got, 303)
		require.True(t, strings.HasPrefix(got.header.Get("Location"), "/login?to="))
		require.NotContains(t, got.body, "failing")
	}
	for _, path := range []string{"/events?of=/", "/history.json", "/debug/pprof/"} {
		note("no token, GET "+path, s.get(t, path), 401)
	}
	for _, path := range []string{"/healthz", "/metrics"} {
		note("no token, GET "+path, s.get(t, path), 200)
	}
	note("no token, POST /instance/pause", s.do(t, http.MethodPost, "/instance/pause", pauseIt, nil), 401)
	note("Basic instead of Bearer", s.do(t, http.MethodPost, "/instance/pause", pauseIt, func(r *http.Request) { r.SetBasicAuth("admin", token) }), 401)
	note("a forged cookie", s.do(t, http.MethodPost, "/instance/pause", pauseIt, func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "fedsender_session", Value: strings.Repeat("A", 75)})
	}), 401)
	note("a path out of the static files", s.get(t, "/static/..%2f..%2fpage.go"), 404)

	s.signIn(t)
	cross := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	form := url.Values{"domain": {"i-5.example"}, "form_token": {formToken(t, s.get(t, "/instance/pause?domain=i-5.example").body)}}
	note("CSRF: a form of another site, in a browser of today", s.do(t, http.MethodPost, "/instance/pause", form, cross("Sec-Fetch-Site", "cross-site")), 403)
	note("CSRF: a form of another port of this host", s.do(t, http.MethodPost, "/instance/pause", form, cross("Sec-Fetch-Site", "same-site")), 403)
	note("CSRF: a form of another site, in an older browser", s.do(t, http.MethodPost, "/instance/pause", form, cross("Origin", "https://evil.example")), 403)
	note("CSRF: no token in the form", s.do(t, http.MethodPost, "/instance/pause", pauseIt, nil), 403)
	note("CSRF: the form's token of another session", s.do(t, http.MethodPost, "/instance/pause", url.Values{"domain": {"i-5.example"}, "form_token": {strings.Repeat("x", 43)}}, nil), 403)
	note("CSRF: a link that acts (GET)", s.get(t, "/instance/pause?domain=i-5.example"), 200)
	note("CSRF: signing somebody in from another site", s.do(t, http.MethodPost, "/login", url.Values{"token": {token}}, cross("Sec-Fetch-Site", "cross-site")), 403)
	for _, to := range []string{"//evil.example", "https://evil.example/", `/\evil.example`, "javascript:alert(1)"} {
		got := s.do(t, http.MethodPost, "/login", url.Values{"token": {token}, "to": {to}}, nil)
		note("a login that leads to "+to, got, 303)
		require.Equal(t, "/", got.header.Get("Location"))
	}
	require.Zero(t, s.number(t, `select count(*) from fedsender.instance_control where instance_id = 5`), "nothing was paused")
	form.Set("form_token", formToken(t, s.get(t, "/instance/pause?domain=i-5.example").body)) // of the last session
	got := s.do(t, http.MethodPost, "/instance/pause", form, cross("Sec-Fetch-Site", "same-origin"))
	note("for comparison: the page's own form", got, 303)
	got = s.do(t, http.MethodPost, "/instance/resume", pauseIt, func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Del("Cookie")
	})
	note("for comparison: the bearer token from a script", got, 303)
	show(t, table)
}

func TestAttack_AThousandWrongTokens(t *testing.T) {
	s := serve(t, token)
	var table []attack
	began := time.Now()
	for _, way := range []string{"bearer", "form"} {
		got := map[int]int{}
		for n := range 1000 {
			guess := fmt.Sprintf("guess-%d", n)
			if way == "bearer" {
				got[s.do(t, http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+guess) }).status]++
			} else {
				got[s.do(t, http.MethodPost, "/login", url.Values{"token": {guess}}, nil).status]++
			}
		}
		require.LessOrEqual(t, got[401], 10+int(time.Since(began)/(2*time.Second)), "looked at")
		require.Equal(t, 1000, got[401]+got[429])
		table = append(table, attack{"1,000 wrong tokens by " + way, fmt.Sprintf("%d × 401, %d × 429", got[401], got[429])})
	}
	table = append(table, attack{"the right token after them, from the same address", fmt.Sprint(s.do(t, http.MethodPost, "/login", url.Values{"token": {token}}, nil).status)})
	show(t, table)
	require.NotContains(t, s.log.String(), "guess-", "what was tried may be somebody's password elsewhere")
}

func TestAttack_HugeAndSlowRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, token)
	host := strings.TrimPrefix(s.url, "http://")
	var table []attack
	got := s.do(t, http.MethodPost, "/login", url.Values{"token": {strings.Repeat("x", 10<<20)}}, nil)
	table = append(table, attack{"a form of 10 MiB", fmt.Sprint(got.status)})
	require.Equal(t, 400, got.status)
	got = s.do(t, http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("X-Huge", strings.Repeat("x", 1<<20)) })
	table = append(table, attack{"a header of 1 MiB", fmt.Sprint(got.status)})
	require.Equal(t, 431, got.status)
	got = s.get(t, "/login?to=/"+strings.Repeat("x", 100<<10))
	table = append(table, attack{"an address of 100 KiB", fmt.Sprint(got.status)})
	require.Equal(t, 431, got.status)

	var group conc.WaitGroup
	slow := make([]attack, 2)
	for i, c := range []struct{ what, start, more string }{
		{"a header, a byte a second", "GET / HTTP/1.1\r\nHost: " + host + "\r\nX: ", "x"},
		{"a form, a byte a second", "POST /login HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n", "x"},
	} {
		group.Go(func() {
			began := time.Now()
			status, err := drip(host, c.start, c.more)
			if err != nil {
				t.Error(err)
			}
			took := time.Since(began)
			if took > 15*time.Second {
				t.Errorf("%s was borne for %s", c.what, took)
			}
			slow[i] = attack{c.what, fmt.Sprintf("%s, cut off after %.0f s", status, took.Seconds())}
		})
	}
	group.Wait()
	show(t, append(table, slow...))
}

// drip sends a request byte by byte until the server has had enough, and returns what it said.
func drip(host, start, more string) (status string, err error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, start); err != nil {
		return "", err
	}
	var group conc.WaitGroup
	defer group.Wait()
	done := make(chan struct{})
	defer close(done)
	group.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if _, err := io.WriteString(conn, more); err != nil {
					return
				}
			}
		}
	})
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if line = strings.TrimSpace(line); line == "" {
		line = "no answer"
	}
	return line, nil
}

func TestAttack_StreamsAreBoundedAndEnd(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	var table []attack
	var open []*http.Response
	defer func() {
		for _, r := range open {
			_ = r.Body.Close()
		}
	}()
	for range 64 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/events?of=/", nil)
		require.NoError(t, err)
		response, err := s.client.Do(request)
		require.NoError(t, err)
		open = append(open, response)
		require.Equal(t, 200, response.StatusCode)
	}
	got := s.get(t, "/events?of=/")
	table = append(table, attack{"a 65th live page", fmt.Sprint(got.status)})
	require.Equal(t, 503, got.status)
	require.Equal(t, 200, s.get(t, "/").status, "pages are still there")
	for _, of := range []string{"", "/login", "/dead-letters", "//evil.example/", "/instance?domain=nowhere"} {
		_ = open[0].Body.Close()
		require.Eventually(t, func() bool { got = s.get(t, "/events?of="+url.QueryEscape(of)); return got.status != 503 }, 10*time.Second, 10*time.Millisecond)
		require.Equal(t, 404, got.status, of)
	}
	reads := bufio.NewReader(open[1].Body)
	for {
		line, err := reads.ReadString('\n')
		require.NoError(t, err)
		if strings.HasPrefix(line, "data: ") {
			break
		}
	}
	show(t, table)
}

func show(t *testing.T, table []attack) {
	t.Helper()
	for _, a := range table {
		t.Logf("| %s | %s |", a.what, a.got)
	}
}
