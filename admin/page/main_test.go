package page_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/admin/page"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/test/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }

const token = "correct-horse-battery-staple"

// server is a page on a real address before a real database.
type server struct {
	url    string
	db     *pgxpool.Pool
	spy    *spy
	log    *transcript.Transcript
	client *http.Client
}

// spy counts what the page reads.
type spy struct {
	*pgxpool.Pool
	mu     sync.Mutex
	begun  int
	broken error // instead of a transaction
}

func (s *spy) BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	s.mu.Lock()
	s.begun++
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return nil, broken
	}
	return s.Pool.BeginTx(ctx, o)
}

func (s *spy) reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *spy) breakWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

const hostile = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`

// hostileDomain is one that fedsender.instance takes.
const hostileDomain = `"><script>window.pwned=1<.example`

// serve starts a page with the token, which may be empty, before a few instances, one of which is hostile.
func serve(t *testing.T, token string) *server {
	t.Helper()
	database := postgres.Database(t)
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `
		insert into fedsender.actor (ap_id) values ('https://home.example/u');
		insert into fedsender.instance (domain, shared_inbox) select 'i-' || n || '.example', 'https://i-' || n || '.example/inbox' from generate_series(1, 250) n;
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) select 1, 'https://i-' || n || '.example/u', n, 'https://i-' || n || '.example/u/inbox' from generate_series(1, 250) n;
		insert into fedsender.instance (domain) values ('`+hostileDomain+`');
		insert into fedsender.instance_health (instance_id, last_error, last_error_at) select id, '`+hostile+`', now() from fedsender.instance where domain in ('`+hostileDomain+`', 'i-1.example')
		on conflict (instance_id) do update set last_error = excluded.last_error, last_error_at = excluded.last_error_at;
		update fedsender.queue_state set fail_count = 3, last_retry_at = now() where instance_id in (1, 251);
		select fedsender.pause('i-2.example');
		insert into fedsender.instance_control (instance_id, note) values (1, '`+hostile+`');
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of) select 'https://home.example/a/' || n || '/`+hostile+`', json_build_object('content', '`+hostile+`'), 1, array[1] from generate_series(1, 30) n;
		insert into fedsender.dead_letter (activity_id, instance_id, reason) select n, 1 + n % 3, '`+hostile+`' from generate_series(1, 30) n;
		insert into fedsender.history (minute, delivered, retry) select date_trunc('minute', now()) - n * interval '1 minute', 60 * n, 6 from generate_series(1, 100) n`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	return servePage(t, token, database, 4)
}

// servePage starts a page before a database, with so many connections.
func servePage(t testing.TB, token, database string, connections int32) *server {
	t.Helper()
	pool, err := pgxpool.ParseConfig(database)
	require.NoError(t, err)
	pool.MaxConns, pool.MinConns = connections, connections
	pool.ConnConfig.RuntimeParams["application_name"] = "page"
	db, err := pgxpool.NewWithConfig(context.Background(), pool)
	require.NoError(t, err)
	s := &server{db: db, spy: &spy{Pool: db}, log: &transcript.Transcript{}}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	addr := make(chan net.Addr, 1)
	ctx, stop := context.WithCancel(context.Background())
	var group conc.WaitGroup
	group.Go(func() {
		err := admin.Serve(ctx, admin.Config{
			Addr: "127.0.0.1:0", Metrics: admin.NewMetrics("here", "v"), Ready: func() error { return nil }, Log: log,
			Token: func() string { return token }, Listening: func(a net.Addr) { addr <- a },
			Page: &page.Config{
				Name: "here", Version: "v1.2.3", Ready: func() error { return errors.New("the database is " + hostile) }, DB: s.spy,
				LockReads: rate.NewLimiter(100, 1), Log: log,
			},
		})
		if err != nil {
			t.Error(err)
		}
	})
	s.url = "http://" + (<-addr).String()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	s.client = &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		group.Wait()
		db.Close()
	})
	return s
}

// answer is what a request got.
type answer struct {
	status int
	body   string
	header http.Header
}

// do sends a request that edit may change.
func (s *server) do(t testing.TB, method, path string, form url.Values, edit func(*http.Request)) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if edit != nil {
		edit(request)
	}
	response, err := s.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, string(body), response.Header}
}

func (s *server) get(t testing.TB, path string) answer {
	t.Helper()
	return s.do(t, http.MethodGet, path, nil, nil)
}

// signIn gives the client a session.
func (s *server) signIn(t testing.TB) {
	t.Helper()
	got := s.do(t, http.MethodPost, "/login", url.Values{"token": {token}}, nil)
	require.Equal(t, http.StatusSeeOther, got.status, got.body)
}

// formToken is what a form of the page carries.
func formToken(t *testing.T, body string) string {
	t.Helper()
	_, rest, found := strings.Cut(body, `name="form_token" value="`)
	require.True(t, found, body)
	value, _, _ := strings.Cut(rest, `"`)
	require.NotEmpty(t, value)
	return value
}

// confirm does what a confirmation offers.
func (s *server) confirm(t *testing.T, path string, form url.Values) answer {
	t.Helper()
	asked := s.get(t, path+"?"+form.Encode())
	require.Equal(t, http.StatusOK, asked.status, asked.body)
	form.Set("form_token", formToken(t, asked.body))
	return s.do(t, http.MethodPost, path, form, nil)
}

func (s *server) number(t *testing.T, sql string) (n int) {
	t.Helper()
	require.NoError(t, s.db.QueryRow(t.Context(), sql).Scan(&n))
	return n
}
