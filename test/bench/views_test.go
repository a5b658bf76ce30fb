package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// viewsSize is a database whose views are measured.
type viewsSize struct{ instances, activities, processes, times int }

func viewsSizeWanted() viewsSize {
	if long() {
		return viewsSize{instances: 30_000, activities: 10_000_000, processes: 4, times: 5}
	}
	return viewsSize{instances: 300, activities: 10_000, processes: 2, times: 1}
}

// viewRoles are those that read the views: the owner of the schema, and who may read them and nothing else.
var viewRoles = []string{"postgres", pg.ViewerRole}

// fillNative makes instances and activities, the cursors that are written late by minutes, and what else is told of them.
// Triggers are off: they would log a million changes.
const fillNative = `
	set session_replication_role = replica;
	insert into fedsender.actor (ap_id) values ('https://home.example/u/1');
	insert into fedsender.instance (domain, shared_inbox)
	select 'i-' || n || '.example', 'https://i-' || n || '.example/inbox' from generate_series(1, %[1]d) n;
	insert into fedsender.activity (ap_id, data, actor_id, send_followers_of, published_at)
	select 'https://home.example/activities/' || n, json_build_object('id', n, 'type', 'Create', 'content', repeat('x', 200)), 1, '{1}',
	  now() - (%[2]d - n) * interval '7 days' / %[2]d
	from generate_series(1, %[2]d) n;
	insert into fedsender.queue_state (instance_id, last_successful_id, fail_count, last_retry_at)
	select id, ` + viewCursor + `, case when id %% 10 = 0 then 1 + id %% 40 else 0 end, case when id %% 10 = 0 then now() end
	from fedsender.instance;`

const viewCursor = `(select max(id) from fedsender.source_activity) - case when id %% 10 = 0 then (id::bigint * 7919) %% %[2]d when id %% 3 = 0 then id %% 5000 %% %[2]d else 0 end`

// fillLemmy does the same in Lemmy's tables, which have their instances and activities.
const fillLemmy = `
	set session_replication_role = replica;
	delete from public.federation_queue_state;
	insert into public.federation_queue_state (instance_id, last_successful_id, fail_count)
	select id, ` + viewCursor + `, case when id %% 10 = 0 then 1 + id %% 40 else 0 end
	from public.instance;`

const fillHealth = `
	update fedsender.feed set horizon = (select max(id) from fedsender.source_activity);
	insert into fedsender.instance_health (instance_id, last_success_at, last_error, last_http_status, last_error_at)
	select id, now() - (1 + id % 10) * interval '1 hour', case when id % 4 = 0 then 'https://' || domain || '/inbox answered 502' end,
	  case when id % 4 = 0 then 502 end, case when id % 4 = 0 then now() - id % 50 * interval '1 hour' end
	from fedsender.source_instance
	on conflict do nothing;
	insert into fedsender.instance_control (instance_id, paused_until)
	select id, 'infinity' from fedsender.source_instance where id % 500 = 0
	on conflict do nothing;
	insert into fedsender.dead_letter (activity_id, instance_id, reason)
	select n, i.id, 'answered 500 for 15 minutes'
	from fedsender.source_instance i, generate_series(1, 20) n
	where i.id % 30 = 0;
	vacuum analyze;`

func fillViews(ctx context.Context, conn *pgx.Conn, text string, args ...any) error {
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	for statement := range strings.SplitSeq(text, ";\n") {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	_, err := conn.Exec(ctx, `reset session_replication_role`)
	return err
}

// viewTime is what one view took for one role: in the server alone, and until the last row was here.
type viewTime struct {
	view, role   string
	rows         int
	server, read time.Duration // medians
}

// measureViews fills a database of this source, has processes hold all instances, and reads each view as each role.
func measureViews(tb testing.TB, line lemmy.Line, size viewsSize) (times []viewTime) {
	tb.Helper()
	ctx := context.Background()
	server, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{
		"max_locks_per_transaction": "1024", "max_connections": "100", "shared_buffers": "1GB", "max_wal_size": "8GB",
	}})
	check(tb, err)
	tb.Cleanup(func() { check(tb, server.Close()) })
	url, err := server.CreateDatabase(ctx, "views")
	check(tb, err)
	if line != "" {
		w := &lemmys{line: line, size: lemmy.Size{Instances: size.instances, Communities: 1, Followers: 1, Activities: size.activities}}
		check(tb, w.tables(ctx, url))
	}
	conn, err := pgx.Connect(ctx, url)
	check(tb, err)
	defer func() { _ = conn.Close(ctx) }() // nothing is written any more
	_, err = pg.Migrate(ctx, conn, pg.MigrateOptions{})
	check(tb, err)
	fill := fillNative
	if line != "" {
		fill = fillLemmy
	}
	check(tb, fillViews(ctx, conn, fill, size.instances, size.activities))
	check(tb, fillViews(ctx, conn, fillHealth))
	holdAll(ctx, tb, conn, size.processes)
	for _, view := range viewNames(ctx, tb, conn) {
		for _, role := range viewRoles {
			times = append(times, timeView(ctx, tb, conn, view, role, size.times))
		}
	}
	return times
}

// holdAll opens the lease sessions of so many processes, which hold all instances between them.
func holdAll(ctx context.Context, tb testing.TB, conn *pgx.Conn, processes int) {
	tb.Helper()
	for p := range processes {
		id := fmt.Sprintf("process%d", p)
		check(tb, pg.WriteProcess(ctx, conn, pg.Process{ID: id, Name: id, DeliveredPerSecond: 100, Load: 100}))
		session, err := pg.OpenLeaseSession(ctx, conn.Config(), id, 0, slog.New(slog.NewTextHandler(io.Discard, nil)))
		check(tb, err)
		tb.Cleanup(session.Close)
		rows, err := conn.Query(ctx, `select id from fedsender.source_instance where id % $1 = $2`, processes, p)
		check(tb, err)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		check(tb, err)
		got, err := session.Lock(ctx, ids)
		check(tb, err)
		if len(got) != len(ids) {
			tb.Fatalf("%s holds %d of %d instances", id, len(got), len(ids))
		}
	}
}

// viewNames are the views for people.
func viewNames(ctx context.Context, tb testing.TB, conn *pgx.Conn) []string {
	tb.Helper()
	rows, err := conn.Query(ctx, `
		select relname from pg_class where relnamespace = 'fedsender'::regnamespace and relkind = 'v' and relname !~ '^source' order by 1`)
	check(tb, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(tb, err)
	return names
}

func timeView(ctx context.Context, tb testing.TB, conn *pgx.Conn, view, role string, times int) viewTime {
	tb.Helper()
	_, err := conn.Exec(ctx, `set role `+role)
	check(tb, err)
	t := viewTime{view: view, role: role}
	var server, read []time.Duration
	for range times + 1 {
		var text []byte
		check(tb, conn.QueryRow(ctx, `explain (analyze, timing off, format json) select * from fedsender.`+view).Scan(&text))
		var plan []struct {
			Planning  float64 `json:"Planning Time"`
			Execution float64 `json:"Execution Time"`
		}
		check(tb, json.Unmarshal(text, &plan))
		server = append(server, time.Duration((plan[0].Planning+plan[0].Execution)*float64(time.Millisecond)))
		began := time.Now()
		rows, err := conn.Query(ctx, `select * from fedsender.`+view)
		check(tb, err)
		t.rows = 0
		for rows.Next() {
			t.rows++
		}
		check(tb, rows.Err())
		read = append(read, time.Since(began))
	}
	// The first one warms the caches.
	t.server, t.read = percentile(sorted(server[1:]), 0.5), percentile(sorted(read[1:]), 0.5)
	_, err = conn.Exec(ctx, `reset role`)
	check(tb, err)
	return t
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// viewTable is what docs/performance.md shows.
func viewTable(times []viewTime) string {
	text := &strings.Builder{}
	fmt.Fprint(text, "\n| view | rows | owner, ms | fedsender_viewer, ms | all rows read, ms |\n|---|---|---|---|---|\n")
	for pair := range slices.Chunk(times, len(viewRoles)) {
		fmt.Fprintf(text, "| `%s` | %d | %.0f | %.0f | %.0f |\n", pair[0].view, pair[0].rows,
			milliseconds(pair[0].server), milliseconds(pair[1].server), milliseconds(pair[0].read))
	}
	return text.String()
}

func BenchmarkViews(b *testing.B) {
	for _, line := range append([]lemmy.Line{""}, lemmy.Lines...) {
		name := "native"
		if line != "" {
			name = "lemmy-" + string(line)
		}
		b.Run(name, func(b *testing.B) {
			b.Log(viewTable(measureViews(b, line, viewsSizeWanted())))
			b.ReportMetric(0, "ns/op")
		})
	}
}

func TestViews_CanBeMeasured(t *testing.T) {
	t.Parallel()
	for _, time := range measureViews(t, "", viewsSize{instances: 30, activities: 200, processes: 2, times: 1}) {
		if time.rows == 0 || time.server <= 0 {
			t.Errorf("%s as %s: %d rows in %v", time.view, time.role, time.rows, time.server)
		}
	}
}
