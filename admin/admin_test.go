package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/deliver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() admin.Config {
	return admin.Config{
		Addr:    "127.0.0.1:0",
		Metrics: admin.NewMetrics("here-1", "v1.2.3"),
		Ready:   func() error { return nil },
		Log:     slog.New(slog.DiscardHandler),
	}
}

func get(t *testing.T, cfg admin.Config, path, token string) (int, string, http.Header) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if token != "" {
		request.Header.Set("Authorization", token)
	}
	answer := httptest.NewRecorder()
	admin.Handler(cfg).ServeHTTP(answer, request)
	return answer.Code, answer.Body.String(), answer.Header()
}

func TestHandler_TellsLifeFromReadiness(t *testing.T) {
	cfg := config()
	status, body, _ := get(t, cfg, "/readyz", "")
	require.Equal(t, 200, status)
	require.Equal(t, "ok\n", body)

	cfg.Ready = func() error { return errors.New("no connection to the database") }
	status, body, _ = get(t, cfg, "/readyz", "")
	require.Equal(t, 503, status)
	require.Equal(t, "no connection to the database\n", body)
	status, _, _ = get(t, cfg, "/healthz", "")
	require.Equal(t, 200, status)
}

func TestHandler_ServesProfilesOnlyForTheToken(t *testing.T) {
	cfg := config()
	for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer x"} {
		status, _, _ := get(t, cfg, "/debug/pprof/", authorization)
		require.Equal(t, 401, status, "without a token nobody may")
	}
	cfg.Token = func() string { return "t0ken" }
	for authorization, want := range map[string]int{
		"": 401, "Bearer ": 401, "Bearer wrong": 401, "Bearer t0ke": 401, "Basic t0ken": 401, "t0ken": 401,
		"Bearer t0ken": 200, "bearer t0ken": 200,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1"} {
			status, body, _ := get(t, cfg, path, authorization)
			require.Equal(t, want, status, "%s with %q", path, authorization)
			require.NotContains(t, body, "t0ken")
		}
	}
}

func TestHandler_ChangesNothing(t *testing.T) {
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			answer := httptest.NewRecorder()
			admin.Handler(config()).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			require.Equal(t, http.StatusMethodNotAllowed, answer.Code, "%s %s", method, path)
		}
	}
	status, _, _ := get(t, config(), "/nothing", "")
	require.Equal(t, 404, status)
}

func TestMetrics_HaveEveryOutcomeFromTheStart(t *testing.T) {
	cfg := config()
	_, body, _ := get(t, cfg, "/metrics", "")
	for class := deliver.Delivered; class <= deliver.Canceled; class++ {
		require.Contains(t, body, `fedsender_deliveries_total{class="`+class.String()+`"} 0`)
	}
	require.Contains(t, body, `fedsender_build_info{goversion="`+runtime.Version()+`",name="here-1",version="v1.2.3"} 1`)
	require.Contains(t, body, "go_goroutines")
}

func TestMetrics_CountWhatHappens(t *testing.T) {
	cfg := config()
	m := cfg.Metrics
	m.Delivery(deliver.Delivered.String(), 20*time.Millisecond, "")
	m.Delivery("never heard of", time.Second, "")
	m.CommitToDelivery(-time.Second, "")
	m.CommitToDelivery(15*time.Millisecond, "")
	m.ActivitiesRead(4)
	m.DeadLetters(5)
	m.Bell()
	m.MissedBell()
	m.Fence(30 * time.Millisecond)
	m.CursorsWritten(6)
	m.LeasesTaken(7)
	m.LeasesGiven(2)
	m.LeaseSessionLost()
	m.DatabaseError()
	m.SigningFault()
	m.WatchSignatures(func() (byLibcrypto, byGo float64) { return 8, 9 }, func() float64 { return 10 })
	m.Watch(admin.Gauges{Leases: func() float64 { return 5 }, LagSeconds: func() float64 { return 1.5 }})

	_, body, _ := get(t, cfg, "/metrics", "")
	for _, line := range []string{
		`deliveries_total{class="delivered"} 1`,
		`deliveries_total{class="unknown"} 1`,
		`delivery_duration_seconds_count 2`,
		`commit_to_delivery_seconds_bucket{le="0.001"} 1`,
		`commit_to_delivery_seconds_bucket{le="0.02"} 2`,
		`activities_read_total 4`, `deliveries_given_up_total 5`,
		`bell_wakeups_total 1`, `poll_wakeups_total 1`, `fence_duration_seconds_count 1`,
		`cursor_writes_total 6`, `leases_taken_total 7`, `leases_given_total 2`,
		`lease_sessions_lost_total 1`, `database_errors_total 1`,
		`signing_faults_total 1`, `signatures_total{by="libcrypto"} 8`, `signatures_total{by="go"} 9`, `signatures_waiting 10`,
		`leases 5`, `lag_seconds 1.5`,
	} {
		require.Contains(t, body, "\nfedsender_"+line+"\n")
	}
	require.NotContains(t, body, "fedsender_in_flight", "a gauge that nobody answers for is left out")
}

func TestServe_EndsWithItsContextAndLetsRequestsEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := make(chan net.Addr, 1)
	asked, answer := make(chan struct{}), make(chan struct{})
	cfg := config()
	cfg.Listening = func(a net.Addr) { addr <- a }
	cfg.Ready = func() error { close(asked); <-answer; return nil }

	var group conc.WaitGroup
	ended := make(chan error, 1)
	group.Go(func() { ended <- admin.Serve(ctx, cfg) })
	url := "http://" + (<-addr).String()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	got := make(chan string, 1)
	group.Go(func() {
		response, err := client.Get(url + "/readyz")
		if err != nil {
			got <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		got <- string(body)
	})
	<-asked
	cancel()
	close(answer)
	require.Equal(t, "ok\n", <-got)
	require.NoError(t, <-ended)
	group.Wait()
	_, err := client.Get(url + "/healthz")
	require.Error(t, err)
}

func TestServe_WhoHoldsAllConnectionsKeepsNoProbeOut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr, asked, answer := make(chan net.Addr, 1), make(chan struct{}), make(chan struct{})
	cfg := config()
	cfg.MaxConnections = 8
	cfg.Listening = func(a net.Addr) { addr <- a }
	cfg.Ready = func() error { asked <- struct{}{}; <-answer; return nil }
	var group conc.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		if err := admin.Serve(ctx, cfg); err != nil {
			t.Error(err)
		}
	})
	to := (<-addr).String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	healthy := func() error {
		response, err := client.Get("http://" + to + "/healthz")
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	var open []net.Conn
	for range 8 {
		conn, err := net.Dial("tcp", to)
		require.NoError(t, err)
		defer conn.Close()
		open = append(open, conn)
	}
	for _, conn := range open {
		_, err := io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n")
		require.NoError(t, err)
		<-asked
	}
	require.Error(t, healthy(), "all that are open have a request")
	close(answer)
	require.Eventually(t, func() bool { return healthy() == nil }, 10*time.Second, time.Millisecond, "one that waits gives way")
}

func TestServe_SaysWhichAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	cfg := config()
	cfg.Addr = taken.Addr().String()
	err = admin.Serve(t.Context(), cfg)
	var refused *admin.ListenError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, err.Error(), "SENDER_ADMIN_ADDR "+cfg.Addr)
	require.Contains(t, err.Error(), "address already in use")
	require.False(t, strings.Contains(err.Error(), "\n"))
}

func BenchmarkMetrics_Delivery(b *testing.B) {
	m := admin.NewMetrics("here", "v")
	b.ReportAllocs()
	for b.Loop() {
		m.Delivery("delivered", time.Millisecond, "")
		m.CommitToDelivery(time.Millisecond, "")
	}
}
