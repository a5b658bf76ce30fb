package pg_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func migrate(t *testing.T, conn *pgx.Conn, opts pg.MigrateOptions) pg.Report {
	t.Helper()
	report, err := pg.Migrate(t.Context(), conn, opts)
	require.NoError(t, err)
	return report
}

func execute(t *testing.T, conn pg.Querier, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// value returns the only column of the only row.
func value[T any](t *testing.T, conn pg.Querier, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v), "%s", sql)
	return v
}

func column[T any](t *testing.T, conn pg.Querier, sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return values
}

// catalog describes everything that anybody made in the database, and how many rows each part of the system catalog has.
func catalog(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return column[string](t, conn, `
		select 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_(toast_)?temp_'
		union all
		select format('%s %s.%s %s %s', c.relkind, c.relnamespace::regnamespace, case when c.relkind = 't' then 'toast' else c.relname end, c.relacl, pg_get_expr(c.relpartbound, c.oid))
		from pg_class c where c.oid >= 16384 and c.relname !~ '^pg_toast_\d+_index$'
		union all
		select format('column %s.%s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, col_description(a.attrelid, a.attnum))
		from pg_attribute a join pg_class c on c.oid = a.attrelid where c.oid >= 16384 and a.attnum > 0 and c.relkind <> 't' and c.relname !~ '^pg_toast_\d+_index$'
		union all
		select 'function ' || pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') || coalesce(obj_description(p.oid, 'pg_proc'), '') from pg_proc p where p.oid >= 16384
		union all
		select format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint where oid >= 16384
		union all
		select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where oid >= 16384 and not tgisinternal
		union all
		select format('view %s %s', oid::regclass, pg_get_viewdef(oid)) from pg_class where relkind = 'v' and oid >= 16384
		union all
		select 'type ' || typname from pg_type where oid >= 16384 and typname !~ '^_?pg_toast_'
		union all
		select 'descriptions ' || count(*) from pg_description
		union all
		select 'dependencies ' || count(*) from pg_depend
		union all
		select 'default privileges ' || count(*) from pg_default_acl
		order by 1`)
}

// requireSame shows only what differs.
func requireSame(t *testing.T, want, got []string) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return slices.Contains(got, line) })
	added := slices.DeleteFunc(slices.Clone(got), func(line string) bool { return slices.Contains(want, line) })
	require.Empty(t, missing, "missing")
	require.Empty(t, added, "added")
}

func TestMigrate_TenTogetherMakeOneSchema(t *testing.T) {
	dsn := postgres.Database(t)
	var group sync.WaitGroup
	reports, errs := make([]pg.Report, 10), make([]error, 10)
	for i := range reports {
		conn := admin(t, dsn)
		group.Go(func() { reports[i], errs[i] = pg.Migrate(t.Context(), conn, pg.MigrateOptions{Log: quiet()}) })
	}
	group.Wait()
	worked := 0
	for i, report := range reports {
		require.NoError(t, errs[i])
		assert.Positive(t, report.To)
		if len(report.Steps) > 0 {
			worked++
			assert.Zero(t, report.From)
		}
	}
	assert.Equal(t, 1, worked)
	conn := admin(t, dsn)
	require.NoError(t, pg.CheckSchema(t.Context(), conn))
	assert.Zero(t, value[int](t, conn, `select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`))
}

func TestMigrate_WhoComesLateWaitsAndGivesUpWithItsContext(t *testing.T) {
	dsn := postgres.Database(t)
	execute(t, admin(t, dsn), `select pg_advisory_lock(1717920628, 0)`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := pg.Migrate(ctx, admin(t, dsn), pg.MigrateOptions{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestMigrate_AgainChangesAndLocksNothing(t *testing.T) {
	dsn := postgres.Database(t)
	conn := admin(t, dsn)
	migrate(t, conn, pg.MigrateOptions{})
	before := catalog(t, conn)

	reader := admin(t, dsn)
	execute(t, reader, `begin`)
	execute(t, reader, `lock table fedsender.activity, fedsender.instance_status in access share mode`)
	execute(t, conn, `set lock_timeout = '1s'`)
	report := migrate(t, conn, pg.MigrateOptions{Source: "native"})
	assert.Empty(t, report.Steps)
	assert.Contains(t, report.String(), "up to date")
	requireSame(t, before, catalog(t, conn))
}

func TestMigrate_UpAndDownLeavesNoTrace(t *testing.T) {
	conn := admin(t, postgres.Database(t))
	empty := catalog(t, conn)
	migrate(t, conn, pg.MigrateOptions{})
	full := catalog(t, conn)
	require.NotEqual(t, empty, full)

	report := migrate(t, conn, pg.MigrateOptions{Down: true})
	assert.Empty(t, report.Lost)
	requireSame(t, empty, catalog(t, conn))
	require.ErrorIs(t, pg.CheckSchema(t.Context(), conn), pg.ErrNoSchema)
	assert.Contains(t, migrate(t, conn, pg.MigrateOptions{Down: true}).String(), "no schema")

	migrate(t, conn, pg.MigrateOptions{})
	requireSame(t, full, catalog(t, conn))
}

func TestMigrate_DownSaysWhatIsLost(t *testing.T) {
	conn := admin(t, postgres.Database(t))
	migrate(t, conn, pg.MigrateOptions{})
	execute(t, conn, `insert into fedsender.actor (ap_id) values ('https://a.example/1'), ('https://a.example/2')`)
	before := catalog(t, conn)
	planned := migrate(t, conn, pg.MigrateOptions{Down: true, DryRun: true})
	requireSame(t, before, catalog(t, conn))
	assert.Equal(t, []pg.Loss{{Table: "fedsender.actor", Rows: 2}}, planned.Lost)
	assert.Contains(t, planned.String(), "would be removed, with 2 rows of fedsender.actor")
	done := migrate(t, conn, pg.MigrateOptions{Down: true})
	assert.Equal(t, planned.Steps, done.Steps)
	assert.Equal(t, planned.Lost, done.Lost)
}

func TestMigrate_DownStopsBeforeWhatIsNotItsOwn(t *testing.T) {
	dsn := postgres.Database(t)
	conn := admin(t, dsn)
	migrate(t, conn, pg.MigrateOptions{})
	before := catalog(t, conn)

	execute(t, conn, `create view public.dashboard as select domain from fedsender.instance_status`)
	_, err := pg.Migrate(t.Context(), conn, pg.MigrateOptions{Down: true})
	require.ErrorIs(t, err, pg.ErrInUse)
	assert.Contains(t, err.Error(), "view public.dashboard depends on view fedsender.instance_status")
	execute(t, conn, `drop view public.dashboard`)

	execute(t, conn, `create table fedsender.mine ()`)
	_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{Down: true})
	require.ErrorIs(t, err, pg.ErrInUse)
	assert.Contains(t, err.Error(), "table fedsender.mine depends on schema fedsender")
	execute(t, conn, `drop table fedsender.mine`)

	session := openLeaseSession(t, parse(t, dsn), "abc")
	_, err = session.Lock(t.Context(), []int32{7})
	require.NoError(t, err)
	_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{Down: true})
	require.ErrorIs(t, err, pg.ErrInUse)
	assert.Contains(t, err.Error(), "1 sender processes deliver from this database (fedsender:abc); stop them first")
	requireSame(t, before, catalog(t, conn))
}

func TestMigrate_DryRunOnlyReports(t *testing.T) {
	conn := admin(t, postgres.Database(t))
	before := catalog(t, conn)
	planned := migrate(t, conn, pg.MigrateOptions{DryRun: true})
	requireSame(t, before, catalog(t, conn))
	assert.Contains(t, planned.String(), "would be migrated from version 0")
	done := migrate(t, conn, pg.MigrateOptions{})
	assert.Equal(t, planned.Steps, done.Steps)
	assert.Equal(t, planned.To, done.To)
}

func TestMigrate_MakesViewsAnewWhoseColumnsChangedAndKeepsTheirGrants(t *testing.T) {
	conn := admin(t, postgres.Database(t))
	migrate(t, conn, pg.MigrateOptions{})
	before := value[string](t, conn, `select pg_get_viewdef('fedsender.recent_error'::regclass)`)
	execute(t, conn, `
		drop view fedsender.recent_error;
		create view fedsender.recent_error as select 1 as another_column;
		grant select on fedsender.recent_error to public;
		grant select on fedsender.instance_status to pg_monitor;
		comment on table fedsender.schema_version is 'that of another release'`)
	report := migrate(t, conn, pg.MigrateOptions{})
	assert.Contains(t, report.String(), "views made anew")
	assert.Equal(t, before, value[string](t, conn, `select pg_get_viewdef('fedsender.recent_error'::regclass)`))
	assert.True(t, value[bool](t, conn, `select has_table_privilege('pg_monitor', 'fedsender.instance_status', 'select')`))
	assert.True(t, value[bool](t, conn, `select has_table_privilege('pg_monitor', 'fedsender.recent_error', 'select')`)) // as one of the public

	execute(t, conn, `drop view fedsender.recent_error`)
	assert.NotEmpty(t, migrate(t, conn, pg.MigrateOptions{}).Steps)
	assert.Equal(t, before, value[string](t, conn, `select pg_get_viewdef('fedsender.recent_error'::regclass)`))
}

func TestMigrate_RefusesASchemaThatIsNewerOrOfAnotherSource(t *testing.T) {
	conn := admin(t, postgres.Database(t))
	migrate(t, conn, pg.MigrateOptions{})
	_, err := pg.Migrate(t.Context(), conn, pg.MigrateOptions{Source: "another"})
	require.ErrorIs(t, err, pg.ErrOtherSource)

	execute(t, conn, `update fedsender.schema_version set version = version + 1`)
	for _, opts := range []pg.MigrateOptions{{}, {DryRun: true}, {Down: true}} {
		_, err = pg.Migrate(t.Context(), conn, opts)
		require.ErrorIs(t, err, pg.ErrSchemaNewer)
		assert.Contains(t, err.Error(), "install the newer sender")
	}
	require.ErrorIs(t, pg.CheckSchema(t.Context(), conn), pg.ErrSchemaNewer)

	execute(t, conn, `update fedsender.schema_version set version = version - 2`)
	err = pg.CheckSchema(t.Context(), conn)
	require.ErrorIs(t, err, pg.ErrSchemaOlder)
	assert.Contains(t, err.Error(), "run: sender migrate")

	execute(t, conn, `drop view fedsender.source cascade; create view fedsender.source as select 'mastodon'::text as name`)
	require.ErrorIs(t, pg.CheckSchema(t.Context(), conn), pg.ErrSchemaNewer)
	_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
	require.ErrorIs(t, err, pg.ErrSchemaNewer)
}

// role makes a login role for this test and returns a connection as it.
func role(t *testing.T, owner *pgx.Conn, name string) *pgx.Conn {
	t.Helper()
	name += "_" + value[string](t, owner, `select current_database()`)
	execute(t, owner, `create role `+name+` login`)
	config := owner.Config().Copy()
	config.User = name
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = conn.Close(ctx)
		again, err := pgx.ConnectConfig(ctx, owner.Config().Copy())
		require.NoError(t, err)
		defer again.Close(ctx)
		_, err = again.Exec(ctx, `drop owned by `+name+` cascade; drop role `+name)
		require.NoError(t, err)
	})
	return conn
}

func TestMigrate_NamesTheGrantThatIsMissing(t *testing.T) {
	owner := admin(t, postgres.Database(t))
	conn := role(t, owner, "plain")
	name, database := conn.Config().User, conn.Config().Database
	_, err := pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
	require.ErrorIs(t, err, pg.ErrNotAllowed)
	assert.Contains(t, err.Error(), `grant create on database "`+database+`" to "`+name+`"`)

	execute(t, owner, `grant create on database `+database+` to `+name)
	migrate(t, conn, pg.MigrateOptions{})
	require.NoError(t, pg.CheckSchema(t.Context(), conn))
	execute(t, owner, `revoke create on database `+database+` from `+name)
	assert.Empty(t, migrate(t, conn, pg.MigrateOptions{}).Steps)

	other := role(t, owner, "other")
	err = pg.CheckSchema(t.Context(), other)
	require.ErrorIs(t, err, pg.ErrNotAllowed)
	assert.Contains(t, err.Error(), `its owner "`+name+`" can give it: for the GRANTs of each role see "Roles" in docs/sql.md`)
	_, err = pg.Migrate(t.Context(), other, pg.MigrateOptions{})
	require.ErrorIs(t, err, pg.ErrNotAllowed)

	migrate(t, conn, pg.MigrateOptions{Down: true})
}

func TestMigrate_WorksInASchemaThatAnAdministratorMade(t *testing.T) {
	owner := admin(t, postgres.Database(t))
	conn := role(t, owner, "tenant")
	execute(t, owner, `create schema fedsender; grant usage, create on schema fedsender to `+conn.Config().User)
	migrate(t, conn, pg.MigrateOptions{})
	require.NoError(t, pg.CheckSchema(t.Context(), conn))
	migrate(t, conn, pg.MigrateOptions{Down: true})
	assert.Zero(t, value[int](t, owner, `select count(*) from pg_class where relnamespace = 'fedsender'::regnamespace`))
}
