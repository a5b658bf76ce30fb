package pg_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestLockTimeout_ProcessesWaitForLessThanPostgresLooksForDeadlocks(t *testing.T) {
	const setting = `select current_setting('lock_timeout')`
	config := parse(t, postgres.Database(t))
	conn := admin(t, config.ConnString())
	for _, c := range []struct{ deadlocks, want string }{{"1s", "300ms"}, {"10s", "300ms"}, {"100ms", "30ms"}, {"1ms", "1ms"}} {
		execute(t, conn, `alter database `+pgx.Identifier{config.Database}.Sanitize()+` set deadlock_timeout = '`+c.deadlocks+`'`)
		pool, err := pg.NewPool(t.Context(), config, 1)
		require.NoError(t, err)
		require.Equal(t, c.want, value[string](t, pool, setting), c.deadlocks)
		pool.Close()
	}
	people, err := pg.Open(t.Context(), config)
	require.NoError(t, err)
	defer people.Close()
	require.Equal(t, "0", value[string](t, people, setting), "a person's command waits")

	newPooler(t, config, true)
	pooled, err := pg.NewPool(t.Context(), config, 1)
	require.NoError(t, err)
	defer pooled.Close()
	require.Equal(t, "0", value[string](t, pooled, setting), "a pooler's session is not ours")
}
