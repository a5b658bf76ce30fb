package page_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// measured is a database whose pages are measured.
type measured struct{ instances, activities, processes, times int }

// wanted is the size of production with FEDSENDER_BENCH=long.
func wanted() measured {
	if os.Getenv("FEDSENDER_BENCH") == "long" {
		return measured{30_000, 10_000_000, 4, 5}
	}
	return measured{300, 10_000, 2, 2}
}

// fillPage makes it with triggers off, which would log a million changes.
const fillPage = `
	set session_replication_role = replica;
	insert into fedsender.actor (ap_id) values ('https://home.example/u/1');
	insert into fedsender.instance (domain, shared_inbox, created_at)
	select 'i-' || n || '.example', 'https://i-' || n || '.example/inbox', now() - interval '1 year' from generate_series(1, %[1]d) n;
	insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) select 1, 'https://i-' || n || '.example/u', n, 'https://i-' || n || '.example/u/inbox' from generate_series(1, %[1]d) n;
	insert into fedsender.activity (ap_id, data, actor_id, send_followers_of, published_at)
	select 'https://home.example/activities/' || n, '{"type":"Create"}', 1, '{1}', now() - (%[2]d - n) * interval '7 days' / %[2]d from generate_series(1, %[2]d) n;
	insert into fedsender.queue_state (instance_id, last_successful_id, fail_count, last_retry_at)
	select id, %[2]d - case when id %% 10 = 0 then (id::bigint * 7919) %% %[2]d when id %% 3 = 0 then id %% 5000 %% %[2]d else 0 end, case when id %% 10 = 0 then 1 + id %% 40 else 0 end, case when id %% 10 = 0 then now() end
	from fedsender.instance;
	update fedsender.feed set horizon = %[2]d;
	insert into fedsender.instance_health (instance_id, last_success_at, last_error, last_http_status, last_error_at)
	select id, now() - (1 + id %% 10) * interval '1 hour', case when id %% 4 = 0 then 'https://' || domain || '/inbox answered 502' end, case when id %% 4 = 0 then 502 end, case when id %% 4 = 0 then now() - id %% 50 * interval '1 hour' end
	from fedsender.instance;
	insert into fedsender.instance_control (instance_id, paused_until) select id, 'infinity' from fedsender.instance where id %% 500 = 0;
	insert into fedsender.dead_letter (activity_id, instance_id, reason) select n, i.id, 'answered 500 for 15 minutes' from fedsender.instance i, generate_series(1, 20) n where i.id %% 30 = 0;
	insert into fedsender.history (minute, delivered) select date_trunc('minute', now()) - n * interval '1 minute', 5000 from generate_series(1, 2880) n;
	vacuum analyze`

func fill(tb testing.TB, size measured) string {
	tb.Helper()
	ctx := context.Background()
	database, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{
		"max_locks_per_transaction": "1024", "shared_buffers": "1GB", "max_wal_size": "8GB", "fsync": "off",
	}})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, database.Close()) })
	address, err := database.CreateDatabase(ctx, "page")
	require.NoError(tb, err)
	conn, err := pgx.Connect(ctx, address)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close(ctx) }) // nothing is written any more
	_, err = pg.Migrate(ctx, conn, pg.MigrateOptions{})
	require.NoError(tb, err)
	for statement := range strings.SplitSeq(fmt.Sprintf(fillPage, size.instances, size.activities), ";\n") {
		_, err := conn.Exec(ctx, statement)
		require.NoError(tb, err, statement)
	}
	_, err = conn.Exec(ctx, `reset session_replication_role`)
	require.NoError(tb, err)
	for n := range size.processes {
		id := "process" + strconv.Itoa(n)
		require.NoError(tb, pg.WriteProcess(ctx, conn, pg.Process{ID: id, Name: id, DeliveredPerSecond: 100, Load: 100}))
		session, err := pg.OpenLeaseSession(ctx, conn.Config(), id, 0, slog.New(slog.DiscardHandler))
		require.NoError(tb, err)
		tb.Cleanup(session.Close)
		rows, err := conn.Query(ctx, `select id from fedsender.instance where id % $1 = $2`, size.processes, n)
		require.NoError(tb, err)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		require.NoError(tb, err)
		_, err = session.Lock(ctx, ids)
		require.NoError(tb, err)
	}
	return address
}

// timed is how long a page took.
type timed struct {
	name          string
	first, median time.Duration // with everything read anew, and as the next viewer sees it
	bytes         int
}

func BenchmarkPage(b *testing.B) {
	size := wanted()
	s := servePage(b, token, fill(b, size), 2)
	s.signIn(b)
	q := url.QueryEscape
	table := fmt.Sprintf("\n| page, %d instances, %d activities, %d processes | first look, ms | next look, ms | kB |\n|---|---|---|---|\n", size.instances, size.activities, size.processes)
	for _, c := range [][2]string{
		{"overview", "/"}, {"instances", "/instances"}, {"instances, searched", "/instances?q=77"}, {"instances, by lag, last page", "/instances?sort=lag&page=9999"},
		{"one instance", "/instance?domain=i-7.example"}, {"one that is far behind", "/instance?domain=i-10.example"}, {"processes", "/processes"},
		{"dead letters", "/dead-letters"}, {"dead letters of one", "/dead-letters?domain=i-30.example"}, {"confirmation of a skip", "/instance/skip?domain=i-10.example"},
		{"confirmation of a replay", "/instance/replay?domain=i-7.example&back=24h"}, {"trace", "/trace?id=" + q(fmt.Sprintf("https://home.example/activities/%d", size.activities-100))}, {"history.json", "/history.json"},
	} {
		t := s.time(b, c[0], c[1], size.times)
		table += fmt.Sprintf("| %s | %.0f | %.1f | %.0f |\n", t.name, t.first.Seconds()*1000, t.median.Seconds()*1000, float64(t.bytes)/1000)
	}
	b.Log(table)
	for _, viewers := range []int{1, 20} {
		b.Log(s.load(b, viewers, 30*time.Second))
	}
	b.ReportMetric(0, "ns/op")
}

// time asks for a page once after what is shared has aged, and then again and again.
func (s *server) time(tb testing.TB, name, path string, times int) timed {
	tb.Helper()
	s.fresh(tb)
	t := timed{name: name}
	var next []time.Duration
	for n := range times + 1 {
		began := time.Now()
		got := s.get(tb, path)
		took := time.Since(began)
		require.Equal(tb, http.StatusOK, got.status, "%s: %s", path, got.body)
		require.NotContains(tb, got.body, "could not be read", path)
		if n == 0 {
			t.first, t.bytes = took, len(got.body)
		} else {
			next = append(next, took)
		}
	}
	slices.Sort(next)
	t.median = next[len(next)/2]
	return t
}

// fresh has what is shared read anew: an action that is refused does it.
func (s *server) fresh(tb testing.TB) {
	tb.Helper()
	got := s.do(tb, http.MethodPost, "/instance/resume", url.Values{"domain": {"nowhere.example"}}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	require.Equal(tb, http.StatusNotFound, got.status)
}

// load has so many pages open for a while and says what the database did for them.
func (s *server) load(tb testing.TB, viewers int, d time.Duration) string {
	tb.Helper()
	paths := []string{"/", "/instances", "/instances?state=failing", "/instances?q=7&sort=lag", "/processes"}
	ctx, stop := context.WithTimeout(context.Background(), d)
	defer stop()
	before, cpu := s.spy.reads(), s.backendCPU(tb)
	var group conc.WaitGroup
	events := make([]int, viewers)
	for i := range viewers {
		group.Go(func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/events?of="+url.QueryEscape(paths[i%len(paths)]), nil)
			if err != nil {
				return
			}
			response, err := s.client.Do(request)
			if err != nil {
				return
			}
			defer response.Body.Close()
			lines := bufio.NewReader(response.Body)
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				if strings.HasPrefix(line, "data:") {
					events[i]++
				}
			}
		})
	}
	group.Wait()
	var used time.Duration
	for pid, now := range s.backendCPU(tb) {
		used += now - cpu[pid] // 0 for a connection made meanwhile
	}
	return fmt.Sprintf("%d open pages: %.2f transactions a second, %.1f %% of one core in the server's processes", viewers,
		float64(s.spy.reads()-before)/d.Seconds(), 100*used.Seconds()/d.Seconds())
}

// backendCPU is the processor time of the server's processes that this page talks to, by their ids.
func (s *server) backendCPU(tb testing.TB) map[int32]time.Duration {
	tb.Helper()
	rows, err := s.db.Query(context.Background(), `select pid from pg_stat_activity where application_name = 'page'`)
	require.NoError(tb, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	require.NoError(tb, err)
	used := make(map[int32]time.Duration, len(pids))
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(tb, err)
		fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
		for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
			ticks, err := strconv.Atoi(field)
			require.NoError(tb, err)
			used[pid] += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return used
}
