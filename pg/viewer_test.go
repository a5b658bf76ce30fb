package pg_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// peoplesViews are what the role for dashboards may read.
var peoplesViews = []string{"autoscale", "instance_status", "lease", "process_status", "queue_summary", "recent_error", "retry_schedule"}

// harmless are functions that everybody may call: they compute, or read what the views show.
var harmless = []string{
	"held_leases", "sessions", "lag_slot", "lag_distance", "autoscale_at", "shown_instances", "shown_ids", "shown_times", "shown_lists",
	"process_need", "desired_replicas", "may_notify", "actor_number", "document", "variant_found", "wanted_triggers", "missing_triggers",
}

// requireOnlyViews takes a schema that has an instance, an activity and a dead letter in it. idle are functions that do
// nothing there, whoever calls them.
func requireOnlyViews(t *testing.T, owner *pgx.Conn, idle ...string) {
	t.Helper()
	require.NoError(t, pg.WriteProcess(t.Context(), owner, pg.Process{ID: "one", Name: "sender-1"}))
	session := openLeaseSession(t, owner.Config(), "one")
	_, err := session.Lock(t.Context(), []int32{value[int32](t, owner, `select min(id) from fedsender.source_instance`)})
	require.NoError(t, err)
	viewer := role(t, owner, "viewer")
	execute(t, owner, `grant `+pg.ViewerRole+` to `+viewer.Config().User)

	for _, view := range peoplesViews {
		assert.Positive(t, value[int](t, owner, `select count(*) from fedsender.`+view), view)
		rows := `select v::text from fedsender.` + view + ` v order by 1`
		switch view {
		case "process_status":
			rows = `select concat_ws(' ', name, leases, silent_for is null) from fedsender.process_status`
		case "instance_status", "retry_schedule", "queue_summary":
			rows = `select (to_jsonb(v) - array['lag', 'oldest_lag', 'next_retry_in'])::text from fedsender.` + view + ` v order by 1`
		}
		assert.Equal(t, column[string](t, owner, rows), column[string](t, viewer, rows), view)
	}
	refused := func(sql string) {
		_, err := viewer.Exec(t.Context(), sql)
		assert.ErrorContains(t, err, "permission denied", sql)
	}
	for _, relation := range column[string](t, owner, `
		select c.oid::regclass::text from pg_class c
		where c.relnamespace in ('fedsender'::regnamespace, 'public'::regnamespace) and c.relkind in ('r', 'v', 'm', 'S', 'p')`) {
		if !slices.Contains(peoplesViews, strings.TrimPrefix(relation, "fedsender.")) {
			refused(`select * from ` + relation)
		}
	}
	for _, call := range column[string](t, owner, `
		select format('%I.%I(%s)', 'fedsender', p.proname,
		  (select string_agg('null::' || format_type(u.type, null), ', ' order by u.place) from unnest(p.proargtypes) with ordinality as u(type, place)))
		from pg_proc p
		where p.pronamespace = 'fedsender'::regnamespace and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype and p.proname <> all ($1)`, append(idle, harmless...)) {
		refused(`select * from ` + call)
	}
	refused(`create table fedsender.x ()`)
	_, err = viewer.Exec(t.Context(), `update fedsender.instance_status set domain = 'x'`)
	assert.Error(t, err)
}

func TestViewer_ReadsTheViewsAndNothingElse(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, insertOne)
	execute(t, conn, `update fedsender.queue_state set fail_count = 1, last_retry_at = now()`)
	execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_id, reason) values (1, 1, 'x')`)
	requireOnlyViews(t, conn)
}

func TestViewer_ReadsTheViewsOfLemmysDatabaseAndNothingElse(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		w := world(t, line, conn)
		migrate(t, conn, pg.MigrateOptions{})
		follow(t, w, "one.example", "c")
		execute(t, conn, `insert into public.federation_queue_state (instance_id, last_successful_id, fail_count)
			select id, 0, 1 from fedsender.source_instance on conflict (instance_id) do update set fail_count = 1, last_successful_id = 0`)
		execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_id, reason) select 1, id, 'x' from fedsender.source_instance`)
		requireOnlyViews(t, conn, "adopt_instances", "enqueue")
	})
}

func TestViewer_IsMadeByWhoMayAndGoesWithTheLastSchema(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	database := func(name string) *pgx.Conn {
		url, err := server.CreateDatabase(t.Context(), name)
		require.NoError(t, err)
		return admin(t, url)
	}
	one, two := database("one"), database("two")
	exists := func() bool {
		return value[bool](t, one, `select exists (select from pg_roles where rolname = $1)`, pg.ViewerRole)
	}
	last := func(r pg.Report) string { return r.Steps[len(r.Steps)-1].Name }

	execute(t, one, `create role plain login; grant create on database one to plain`)
	config := one.Config().Copy()
	config.User = "plain"
	plain, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer plain.Close(t.Context())
	report := migrate(t, plain, pg.MigrateOptions{})
	require.Equal(t, "create role fedsender_viewer nologin", report.Viewer)
	require.False(t, exists())
	execute(t, one, report.Viewer)
	report = migrate(t, plain, pg.MigrateOptions{DryRun: true})
	require.Equal(t, "viewer", last(report))
	report = migrate(t, plain, pg.MigrateOptions{})
	require.Empty(t, report.Viewer)
	require.Equal(t, "viewer", last(report))
	require.Empty(t, migrate(t, plain, pg.MigrateOptions{}).Steps)
	execute(t, one, `set role fedsender_viewer; table fedsender.queue_summary; reset role`)
	migrate(t, plain, pg.MigrateOptions{Down: true})
	require.True(t, exists(), "an administrator's")

	execute(t, one, `drop role fedsender_viewer`)
	require.Contains(t, migrate(t, one, pg.MigrateOptions{DryRun: true}).Steps[len(migrate(t, one, pg.MigrateOptions{DryRun: true}).Steps)-1].SQL, "create role fedsender_viewer")
	require.False(t, exists())
	migrate(t, one, pg.MigrateOptions{})
	migrate(t, two, pg.MigrateOptions{})
	require.True(t, exists())
	migrate(t, one, pg.MigrateOptions{Down: true})
	require.True(t, exists(), "the other database has its views")
	execute(t, two, `create role grafana login in role fedsender_viewer`)
	migrate(t, two, pg.MigrateOptions{Down: true})
	require.True(t, exists(), "somebody uses it")
	execute(t, two, `drop role grafana`)
	migrate(t, two, pg.MigrateOptions{})
	migrate(t, two, pg.MigrateOptions{Down: true})
	require.False(t, exists())
}
