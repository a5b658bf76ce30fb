package pg

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/migrations"
	"github.com/fedsender/fedsender/test/postgres"
)

// released adds a source whose migrations are the native ones and some of a later release.
func released(t *testing.T, source string, later map[string]string) {
	t.Helper()
	native := migrations.Sources()["native"].Files()
	names, err := fs.Glob(native, "*.sql")
	require.NoError(t, err)
	releasedWith(t, source, names, later)
}

// releasedWith adds one that has only these of the native migrations.
func releasedWith(t *testing.T, source string, names []string, later map[string]string) {
	t.Helper()
	files := fstest.MapFS{}
	native := migrations.Sources()["native"].Files()
	for _, name := range append(slices.Clone(names), "names.json") {
		text, err := fs.ReadFile(native, name)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(text), "'native'::text", "'"+source+"'::text"))}
	}
	for i, name := range slices.Sorted(maps.Keys(later)) {
		files[fmt.Sprintf("%03d_%s", len(names)+1+i, name)] = &fstest.MapFile{Data: []byte(later[name])}
	}
	before := maps.Clone(sources)
	sources[source] = migrations.NewSource(source, files)
	t.Cleanup(func() { sources = before })
}

func TestMigrate_UpgradesAFilledDatabaseOneTransactionAMigration(t *testing.T) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, postgres.Database(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	execute := func(sql string) {
		t.Helper()
		_, err := conn.Exec(ctx, sql)
		require.NoError(t, err)
	}
	const source = "released"
	released(t, source, nil)
	report, err := Migrate(ctx, conn, MigrateOptions{Source: source})
	require.NoError(t, err)
	first := report.To
	execute(`
		insert into fedsender.actor (ap_id) values ('https://a.example/1');
		insert into fedsender.instance (domain) select g || '.example' from generate_series(1, 100) g;
		insert into fedsender.activity (ap_id, data, actor_id) select g, '{}', 1 from generate_series(1, 1000) g;
		grant select on fedsender.instance_status to pg_monitor`)

	later := map[string]string{
		"a_later.sql": `
			drop view fedsender.queue_summary, fedsender.retry_schedule, fedsender.recent_error, fedsender.instance_status;
			alter table fedsender.dead_letter alter column reason type varchar;
			---- create above / drop below ----
			alter table fedsender.dead_letter alter column reason type text;`,
		"b_broken.sql": `
			alter table fedsender.actor add column half_done int;
			select 1 / 0;
			---- create above / drop below ----`,
	}
	released(t, source, later)
	require.ErrorIs(t, CheckSchema(ctx, conn), ErrSchemaOlder)
	report, err = Migrate(ctx, conn, MigrateOptions{Source: source})
	require.ErrorContains(t, err, "b_broken.sql: ERROR: division by zero")
	assert.Equal(t, first, report.From)
	assert.Equal(t, first+1, report.To, "what was complete stays")
	var granted bool
	require.NoError(t, conn.QueryRow(ctx, `select has_table_privilege('pg_monitor', 'fedsender.instance_status', 'select')`).Scan(&granted))
	assert.True(t, granted, "the views that it dropped are there again")

	later["b_broken.sql"] = strings.Replace(later["b_broken.sql"], "1 / 0", "1 / 1", 1) + `alter table fedsender.actor drop column half_done`
	released(t, source, later)
	report, err = Migrate(ctx, conn, MigrateOptions{}) // the source is known
	require.NoError(t, err)
	assert.Equal(t, first+1, report.From)
	assert.Equal(t, first+2, report.To)
	require.NoError(t, CheckSchema(ctx, conn))
	summary, err := Summary(ctx, conn)
	require.NoError(t, err)
	assert.EqualValues(t, 100, summary.Instances)
	assert.EqualValues(t, 1000, summary.Activities)

	report, err = Migrate(ctx, conn, MigrateOptions{Down: true})
	require.NoError(t, err)
	assert.Contains(t, report.String(), "1000 rows of fedsender.activity")
	require.ErrorIs(t, CheckSchema(ctx, conn), ErrNoSchema)
}

func TestMigrate_KeepsTheGrantsOnViewsThatAMigrationDropped(t *testing.T) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, postgres.Database(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	const source = "regranted"
	released(t, source, nil)
	_, err = Migrate(ctx, conn, MigrateOptions{Source: source})
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `grant select on fedsender.instance_status to pg_monitor, public`)
	require.NoError(t, err)
	released(t, source, map[string]string{"a_later.sql": `drop view fedsender.queue_summary, fedsender.retry_schedule, fedsender.instance_status`})
	_, err = Migrate(ctx, conn, MigrateOptions{})
	require.NoError(t, err)
	var grants string
	require.NoError(t, conn.QueryRow(ctx, `select relacl::text from pg_class where oid = 'fedsender.instance_status'::regclass`).Scan(&grants))
	assert.Contains(t, grants, "pg_monitor=r/")
	assert.Contains(t, grants, ",=r/")
}

// TestMigrate_LetsInsertsWaitForSecondsOnly: the doorbell is read by INSERTs of databases that an earlier version made.
func TestMigrate_LetsInsertsWaitForSecondsOnly(t *testing.T) {
	ctx, dsn := t.Context(), postgres.Database(t)
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(ctx, dsn)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
		return conn
	}
	conn, writer := connect(), connect()
	const source = "released"
	names, err := fs.Glob(migrations.Sources()["native"].Files(), "*.sql")
	require.NoError(t, err)
	awake := slices.Index(names, "016_awake.sql")
	require.Positive(t, awake)
	releasedWith(t, source, names[:awake], nil)
	before, err := Migrate(ctx, conn, MigrateOptions{Source: source})
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `insert into fedsender.actor (ap_id) values ('https://a.example/1'); update fedsender.doorbell set armed = true`)
	require.NoError(t, err)
	_, err = writer.Exec(ctx, `begin; insert into fedsender.activity (ap_id, data, actor_id) values ('one', '{}', 1)`)
	require.NoError(t, err)

	released(t, source, nil)
	report, err := Migrate(ctx, conn, MigrateOptions{Source: source})
	require.True(t, IsLocked(err), "%v", err)
	assert.Contains(t, Sentence(err), "try again")
	assert.Equal(t, before.To, report.To)
	_, err = writer.Exec(ctx, `commit`)
	require.NoError(t, err)
	report, err = Migrate(ctx, conn, MigrateOptions{Source: source})
	require.NoError(t, err)
	assert.Equal(t, int32(len(names)), report.To)
	var awakeNow bool
	require.NoError(t, conn.QueryRow(ctx, `select fedsender.all_awake()`).Scan(&awakeNow))
	assert.False(t, awakeNow, "a process of before sleeps")
	_, err = Migrate(ctx, conn, MigrateOptions{Source: source, Down: true})
	require.NoError(t, err)
}
