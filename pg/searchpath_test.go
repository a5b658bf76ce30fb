package pg_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// TestSearchPath_OfTheDatabaseChangesNothing: a name without a schema means what the server has, in all that is made and read.
func TestSearchPath_OfTheDatabaseChangesNothing(t *testing.T) {
	dsn := postgres.Database(t)
	owner := admin(t, dsn)
	execute(t, owner, `
		create schema hostile;
		create table hostile.pg_stat_activity (pid int);
		create table hostile.pg_locks (pid int);
		create function hostile.now() returns timestamptz language sql as $$ select timestamptz '2001-01-01' $$;
		create function hostile.lower(text) returns text language sql as $$ select 'hostile' $$`)
	execute(t, owner, `do $$ begin execute format('alter database %I set search_path = hostile, pg_catalog, fedsender', current_database()); end $$`)

	conn := admin(t, dsn)
	migrate(t, conn, pg.MigrateOptions{})
	assert.Equal(t, "hostile, pg_catalog, fedsender", value[string](t, conn, `show search_path`), "who lent the session has it as it was")

	session := openLeaseSession(t, parse(t, dsn), "one")
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "one", Name: "one"}))
	peers, err := session.Beat(t.Context())
	require.NoError(t, err)
	assert.Len(t, peers, 1)

	pool, err := pg.Open(t.Context(), parse(t, dsn))
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, pg.CheckSchema(t.Context(), pool))
	summary, err := pg.Summary(t.Context(), pool)
	require.NoError(t, err)
	assert.EqualValues(t, 1, summary.Processes)
}

func TestMigrate_MakesNothingWhereLettersAreMissing(t *testing.T) {
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		dsn := postgres.Database(t)
		execute(t, admin(t, dsn), `create database letters encoding '`+encoding+`' locale 'C' template template0`)
		cfg := parse(t, dsn)
		cfg.Database = "letters"
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		require.NoError(t, err)
		_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
		require.ErrorContains(t, err, "encoded in "+encoding)
		require.ErrorContains(t, err, "encoding 'UTF8'")
		assert.False(t, value[bool](t, conn, `select exists (select from pg_namespace where nspname = 'fedsender')`))
		require.NoError(t, conn.Close(t.Context()))
		execute(t, admin(t, dsn), `drop database letters`)
	}
}
