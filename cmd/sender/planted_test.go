package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// Secrets of every kind, each a text that is found nowhere else.
const (
	plantedDSN    = `dsn%/planted w0rd`
	plantedWrong  = `wrong%/planted w0rd`
	plantedToken  = `token-planted-0123456789`
	plantedOTEL   = `otel-planted-credential`
	plantedProxy  = `proxy@planted/pass`
	plantedInbox  = `inbox-planted-pass`
	plantedBroken = `brokenplantedkeybrokenplantedkey`
	plantedNaked  = `naked-planted-key`
)

// leaks looks for secrets in all that a person, a log or another server gets to see.
type leaks struct {
	t        *testing.T
	secrets  map[string]string // what is looked for → what it is
	searched int
}

func newLeaks(t *testing.T, keyPEM string) *leaks {
	l := &leaks{t: t, secrets: map[string]string{}}
	for what, secret := range map[string]string{
		"DSN": plantedDSN, "wrong DSN": plantedWrong, "token": plantedToken, "OTEL header": plantedOTEL, "proxy": plantedProxy, "inbox": plantedInbox,
		"broken key": plantedBroken, "naked key": plantedNaked,
	} {
		for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret), strings.TrimPrefix(url.UserPassword("", secret).String(), ":"),
			base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%q", secret)} {
			l.secrets[form] = what
		}
	}
	l.secrets[base64.StdEncoding.EncodeToString([]byte("proxyuser:"+plantedProxy))] = "credentials of the proxy"
	for i, line := range strings.Split(strings.TrimSpace(keyPEM), "\n") {
		if !strings.HasPrefix(line, "-----") {
			l.secrets[line] = fmt.Sprintf("line %d of the private key", i)
		}
	}
	block, _ := pem.Decode([]byte(keyPEM))
	l.secrets[string(block.Bytes[20:60])] = "the private key as DER"
	return l
}

func (l *leaks) search(where, text string) {
	l.t.Helper()
	l.searched += len(text)
	for secret, what := range l.secrets {
		if at := strings.Index(text, secret); at >= 0 {
			l.t.Errorf("%s shows the %s: …%s…", where, what, text[max(0, at-80):min(len(text), at+80)])
		}
	}
}

// secretive is a database that asks for a password, with activities of which nearly each fails in a way of its own.
func secretive(t *testing.T, keyPEM string) (at func(password string) string, server *postgres.Server) {
	t.Helper()
	server = startServer(t, postgres.Options{Password: true})
	_, err := server.CreateDatabase(t.Context(), "app")
	require.NoError(t, err)
	admin := server.URL("app")
	runProgram(t, []string{"DATABASE_URL=" + admin}, "migrate").requireDone(t)
	conn := fill(t, admin)
	execute(t, conn, `
		create role app superuser login password '`+plantedDSN+`';
		update fedsender.actor set private_key_pem = '`+keyPEM+`';
		insert into fedsender.actor (ap_id, private_key_pem) values
		  ('https://here.example/u/broken', E'-----BEGIN PRIVATE KEY-----\n`+plantedBroken+`\n-----END PRIVATE KEY-----\n'),
		  ('https://here.example/u/naked', '`+plantedNaked+`');
		insert into fedsender.activity (ap_id, actor_id, data, send_inboxes)
		select 'https://here.example/a/' || n, actor, '`+document("https://here.example/a")+`'::json, array[inbox]
		from (values (1, 2, 'https://toad.example/inbox'), (2, 3, 'https://toad.example/inbox'), (3, 1, 'https://proxied.example/inbox'),
		  (4, 1, 'https://bob:`+plantedInbox+`@frog.example/inbox'), (5, 1, 'https://bob:`+plantedInbox+`@unknown.example/inbox'),
		  (6, 1, 'http://127.0.0.1:1/inbox')) as v(n, actor, inbox)`)
	return func(password string) string {
		u, err := url.Parse(admin)
		require.NoError(t, err)
		u.User = url.UserPassword("app", password)
		return u.String()
	}, server
}

// A run at the level debug, in which everything fails that can, shows no secret to anybody.
func TestSecrets_AreShownNowhere(t *testing.T) {
	keyPEM := newKeyPEM(t)
	l := newLeaks(t, keyPEM)
	at, server := secretive(t, keyPEM)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not for "+r.Header.Get("Proxy-Authorization"), http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	traces := newCollector(t)
	traces.refuses = true
	environment := func(password string) []string {
		return []string{"DATABASE_URL=" + at(password), "SENDER_LOG_LEVEL=debug", "SENDER_ALLOW_PRIVATE_ADDRESSES=127.0.0.0/8", "SENDER_ALLOW_HTTP=on",
			"SENDER_METRICS_INSTANCES=5", "SENDER_ADMIN_TOKEN=" + plantedToken,
			"HTTPS_PROXY=http://proxyuser:" + url.PathEscape(plantedProxy) + "@" + proxy.Listener.Addr().String(), "NO_PROXY=",
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20" + plantedOTEL + ",broken%zz" + plantedOTEL + "=" + plantedOTEL,
			"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1"}
	}
	say := func(where string, o outcome) { l.search(where, o.out+o.errors) }
	for _, verb := range []string{"run", "status", "doctor", "migrate"} {
		say(verb+" with a wrong password", runProgram(t, environment(plantedWrong), verb))
		say(verb+" with a broken URL", runProgram(t, append(environment(plantedDSN), "DATABASE_URL=postgres://app:"+plantedWrong+"@db/app"), verb))
	}

	address := freeAddress(t)
	cmd := command(t, append(environment(plantedDSN), "SENDER_ADMIN_ADDR="+address), "run", "--admin-token="+plantedToken)
	log := &journal{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	awaitStatus(t, address, "/readyz", plantedToken, http.StatusOK)
	metric := func(pattern string) bool {
		return regexp.MustCompile(`(?m)^fedsender_` + pattern).MatchString(get(t, address, "/metrics", plantedToken, ""))
	}
	require.Eventually(t, func() bool {
		_, _, asked := traces.got()
		return asked > 1 && metric(`deliveries_given_up_total [4-9]`) && metric(`deliveries_total\{class="retry"\} [2-9]`)
	}, 30*time.Second, 50*time.Millisecond, log)
	log.await(t, "Proxy Authentication Required")
	log.await(t, "traces are lost")
	traces.mu.Lock()
	traces.refuses = false
	traces.mu.Unlock()

	for _, path := range []string{
		"/", "/instances", "/instance?domain=toad.example", "/instance?domain=proxied.example", "/dead-letters", "/dead-letter?id=1", "/dead-letter?id=4", "/processes",
		"/trace?id=https://here.example/a/4", "/trace?ap_id=https://here.example/a/4", "/history.json", "/login", "/healthz", "/readyz", "/metrics",
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs", "/debug/pprof/trace?seconds=0.1",
	} {
		l.search(path, get(t, address, path, plantedToken, ""))
		l.search(path+" without the token", get(t, address, path, "", ""))
	}
	require.Contains(t, get(t, address, "/dead-letters", plantedToken, ""), "here.example/a/1", "the page shows the dead letters")
	l.search("OpenMetrics", get(t, address, "/metrics", plantedToken, "application/openmetrics-text; version=1.0.0"))
	requireEveryMetric(t, get(t, address, "/metrics", plantedToken, ""))
	for _, verb := range [][]string{{"status"}, {"status", "--json"}, {"status", "toad.example"}, {"doctor"}, {"doctor", "--json"}, {"dead-letters", "list", "--json"},
		{"trace", "https://here.example/a/4"}, {"trace", "https://here.example/a/5", "--json"}} {
		say(strings.Join(verb, " "), runProgram(t, environment(plantedDSN), verb...))
	}

	require.NoError(t, server.Stop(postgres.Immediate))
	log.await(t, "no lease session")
	require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT)) // what a panic prints of every goroutine
	_ = cmd.Wait()
	require.Contains(t, log.String(), "SIGQUIT")
	l.search("the log", log.String())
	_, raw, _ := traces.got()
	l.search("a trace", string(raw))
	t.Logf("searched %d bytes for %d texts", l.searched, len(l.secrets))
	require.Greater(t, l.searched, 100_000)
}

// requireEveryMetric requires that a real run has all that the reference lists.
func requireEveryMetric(t *testing.T, served string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	names := regexp.MustCompile("(?m)^\\| `(fedsender_[a-z_]+)` \\|").FindAllSubmatch(page, -1)
	require.Greater(t, len(names), 40)
	for _, name := range names {
		if string(name[1]) != "fedsender_instance_lag_seconds" && !strings.Contains(served, "# TYPE "+string(name[1])+" ") { // nobody has taken anything yet
			t.Errorf("the reference has %s, a real run has not", name[1])
		}
	}
}
