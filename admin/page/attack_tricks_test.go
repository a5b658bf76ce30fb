package page_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// actions are all addresses where a form changes something, with what the form says.
var actions = map[string]url.Values{
	"/instance/pause":     {"domain": {"i-5.example"}},
	"/instance/resume":    {"domain": {"i-2.example"}},
	"/instance/retry":     {"domain": {"i-1.example"}},
	"/instance/limit":     {"domain": {"i-5.example"}, "most": {"3"}},
	"/instance/replay":    {"domain": {"i-5.example"}, "since": {"2020-01-01T00:00:00Z"}},
	"/instance/skip":      {"domain": {"i-5.example"}},
	"/dead-letters/retry": {"id": {"1"}},
	"/dead-letters/drop":  {"id": {"1"}},
}

// changed is all that an action changes, in one line.
const changed = `
	select concat((select count(*) from fedsender.dead_letter), ' ', (select count(*) from fedsender.redelivery), ' ',
	  (select sum(last_successful_id) from fedsender.queue_state), ' ', (select count(*) from fedsender.change where kind = 'retry'), ' ',
	  (select string_agg(c::text, '' order by instance_id) from fedsender.instance_control c))`

func TestAttack_EveryActionWantsItsOwnFormByItsOwnMethod(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	state := func() (text string) {
		require.NoError(t, s.db.QueryRow(t.Context(), changed).Scan(&text))
		return text
	}
	before := state()
	right := formToken(t, s.get(t, "/instance/pause?domain=i-5.example").body)
	header := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	got := map[string][]int{}
	for path, given := range actions {
		form, inAddress := url.Values{"form_token": {right}}, path+"?"+given.Encode()+"&form_token="+right
		for name, values := range given {
			form[name] = values
		}
		raw := func(r *http.Request) { r.URL.RawQuery = "" }
		for what, a := range map[string]answer{
			"its form, sent by another site":                          s.do(t, "POST", path, form, header("Origin", "https://evil.example")),
			"its form, sent by a page without an origin":              s.do(t, "POST", path, form, header("Origin", "null")),
			"its form, sent by another site in a browser of today":    s.do(t, "POST", path, form, header("Origin", s.url, "Sec-Fetch-Site", "cross-site")),
			"its form, sent by another port of this host":             s.do(t, "POST", path, form, header("Sec-Fetch-Site", "same-site")),
			"its form without the token":                              s.do(t, "POST", path, given, nil),
			"its form with a token of nobody":                         s.do(t, "POST", path, url.Values{"form_token": {right[1:] + "A"}}, nil),
			"all of it in the address":                                s.do(t, "POST", inAddress, nil, nil),
			"its fields as JSON":                                      s.do(t, "POST", path, form, header("Content-Type", "application/json")),
			"its fields as text, which needs no leave of the browser": s.do(t, "POST", path, form, header("Content-Type", "text/plain")),
			"its fields as multipart":                                 s.do(t, "POST", path, form, header("Content-Type", "multipart/form-data; boundary=x")),
			"GET, with a header that says POST":                       s.do(t, "GET", inAddress, nil, header("X-HTTP-Method-Override", "POST")),
			"GET, with a parameter that says POST":                    s.do(t, "GET", inAddress+"&_method=POST", nil, nil),
			"HEAD":                                                    s.do(t, "HEAD", inAddress, nil, nil),
			"PUT":                                                     s.do(t, "PUT", path, form, nil),
			"PATCH":                                                   s.do(t, "PATCH", path, form, nil),
			"DELETE":                                                  s.do(t, "DELETE", inAddress, nil, nil),
			"OPTIONS, which asks for other sites":                     s.do(t, "OPTIONS", path, nil, header("Origin", "https://evil.example", "Access-Control-Request-Method", "POST")),
			"a form of half a MiB":                                    s.do(t, "POST", path, url.Values{"form_token": {right}, "x": {strings.Repeat("x", 1<<19)}}, nil),
			"its form with a bearer token that is wrong beside a cookie": s.do(t, "POST", path, form, func(r *http.Request) { raw(r); r.Header.Set("Authorization", "Bearer wrong") }),
		} {
			if !slices.Contains(got[what], a.status) {
				got[what] = append(got[what], a.status)
			}
			require.NotContains(t, a.header, "Access-Control-Allow-Origin", what)
		}
	}
	require.Equal(t, before, state(), "nothing was changed")
	var table []attack
	for what, statuses := range got {
		table = append(table, attack{what, fmt.Sprint(statuses)})
	}
	slices.SortFunc(table, func(a, b attack) int { return strings.Compare(a.what, b.what) })
	show(t, table)
	for what, statuses := range got {
		for _, status := range statuses {
			switch {
			case strings.HasPrefix(what, "GET"), what == "HEAD":
				require.Equal(t, 200, status, what+": it only asks")
			case what == "a form of half a MiB":
				require.Equal(t, 400, status, what)
			case strings.Contains(what, "bearer"):
				require.Contains(t, []int{401, 429}, status, what)
			case strings.HasPrefix(what, "its"), strings.HasPrefix(what, "all"):
				require.Equal(t, 403, status, what)
			default:
				require.Equal(t, 405, status, what)
			}
		}
	}
	for _, path := range []string{"/login", "/logout"} {
		for _, edit := range []func(*http.Request){header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site")} {
			require.Equal(t, 403, s.do(t, "POST", path, url.Values{"token": {token}}, edit).status, path)
		}
		require.Contains(t, []int{303, 405}, s.get(t, path).status, path)
	}
	require.Equal(t, 200, s.get(t, "/").status, "nobody was signed out")
}

// raw sends bytes and returns the first line of the answer and where it leads.
func (s *server) raw(t *testing.T, request string) (status, location string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, _ = conn.Write([]byte(request)) // it may be cut off
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	require.NoError(t, err, request[:min(len(request), 80)])
	for {
		header, err := answer.ReadString('\n')
		if header = strings.TrimSpace(header); err != nil || header == "" {
			return strings.TrimSpace(line), location
		}
		if name, value, _ := strings.Cut(header, ": "); name == "Location" {
			location = value
		}
	}
}

func TestAttack_OddRequests(t *testing.T) {
	s := serve(t, "")
	host := strings.TrimPrefix(s.url, "http://")
	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	var table []attack
	try := func(what, request, want string) {
		t.Helper()
		status, location := s.raw(t, request)
		table = append(table, attack{what, strings.TrimSpace(status + " " + location)})
		if !strings.Contains(status, " "+want) {
			t.Errorf("%s: %s, want %s", what, status, want)
		}
		require.False(t, strings.HasPrefix(location, "//") || strings.Contains(location, ":") || strings.HasPrefix(location, `/\`), "%s leads to %s", what, location)
	}
	get := func(path, host string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	}
	for name, want := range map[string]string{
		host: "200", "localhost:" + port: "200", "LOCALHOST": "200", "[::1]:" + port: "200", "127.9.9.9": "200",
		"evil.example:" + port: "403", "localhost.evil.example": "403", "127.0.0.1.evil.example": "403", "evil.example#@localhost": "400", "localhost@evil.example": "400", "localhost.": "403", "0.0.0.0": "403", "": "403", "2130706433": "403",
	} {
		try("Host: "+name, get("/", name), want)
	}
	try("no Host", "GET / HTTP/1.1\r\n\r\n", "400")
	try("two Hosts", "GET / HTTP/1.1\r\nHost: "+host+"\r\nHost: evil.example\r\n\r\n", "400")
	try("an address that names another host", "GET http://evil.example/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n", "403")
	try("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "403")
	try("HTTP/1.0 with Host", "GET / HTTP/1.0\r\nHost: "+host+"\r\n\r\n", "200")
	try("HTTP/0.9", "GET /\r\n\r\n", "400")
	try("CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "404")
	try("10,000 headers", "GET / HTTP/1.1\r\nHost: "+host+"\r\n"+strings.Repeat("X-A: b\r\n", 10_000)+"\r\n", "431")
	try("a header with a zero byte", "GET / HTTP/1.1\r\nHost: "+host+"\r\nX-A: \x00\r\n\r\n", "400")
	try("two lengths", "POST /login HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "400")
	try("a coding that hides a second request", "POST /login HTTP/1.1\r\nHost: "+host+"\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "501")
	for path, want := range map[string]string{
		"//evil.example": "30", "//evil.example/..": "30", "/./instances": "30", "/instance/../processes": "30", "/%2e%2e/%2e%2e/etc/passwd": "404",
		"/static/../../page.go": "30", "/static/..%2f..%2fpage.go": "404", "/static/%2e%2e%2fpage.go": "404", "/static/": "404", "/static/.": "30", `/\evil.example`: "404", "/instances/": "404", "/instance/pause/": "404",
		"/instance/nothing": "403", "/INSTANCES": "404", "/instances;x=/../": "30", "/instances%00": "404", "/debug/pprof/../pprof/": "30",
	} {
		try("GET "+path, get(path, host), want)
	}
	slices.SortFunc(table, func(a, b attack) int { return strings.Compare(a.what, b.what) })
	show(t, table)
}
