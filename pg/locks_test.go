package pg_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestLockTimeout_ProcessesWaitForLessThanPostgresLooksForDeadlocks(t *testing.T) {
	const setting = `select current_setting('lock_timeout')`
	config := parse(t, postgres.Database(t))
	conn := admin(t, config.ConnString())
	for _, c := range []struct{ deadlocks, want string }{{"1s", "300ms"}, {"10s", "300ms"}, {"100ms", "30ms"}, {"1ms", "1ms"}} {
		execute(t, conn, `alter database `+pgx.Identifier{config.Database}.Sanitize()+` set deadlock_timeout = '`+c.deadlocks+`'`)
		pool, err := pg.NewPool(t.Context(), config, 1, nil)
		require.NoError(t, err)
		require.Equal(t, c.want, value[string](t, pool, setting), c.deadlocks)
		pool.Close()
	}
	people, err := pg.Open(t.Context(), config)
	require.NoError(t, err)
	defer people.Close()
	require.Equal(t, "2s", value[string](t, people, setting), "a person waits for longer, not for ever")

	newPooler(t, config, true)
	pooled, err := pg.NewPool(t.Context(), config, 1, nil)
	require.NoError(t, err)
	defer pooled.Close()
	require.Equal(t, "0", value[string](t, pooled, setting), "a pooler's session is not ours")
}

// tablesOf are the application's that a session has locked.
func tablesOf(t *testing.T, look *pgx.Conn, pid uint32, mode string) []string {
	t.Helper()
	return column[string](t, look, `
		select l.relation::regclass::text
		from pg_locks l
		join pg_class c on c.oid = l.relation and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
		where l.pid = $1::bigint and l.mode = $2 and l.granted
			and l.database = (select oid from pg_database where datname = current_database())
		order by 1`, int64(pid), mode)
}

func TestLoad_HasLockedEveryTableBeforeItTakesLong(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		look := another(t, conn)
		followers := map[lemmy.Line]string{lemmy.V019: "community_follower", lemmy.V10: "community_actions"}[w.Line]
		var first []string
		err := pg.Load(t.Context(), conn, func(l *pg.Loaded) {
			first = tablesOf(t, look, conn.PgConn().PID(), "AccessShareLock")
			for range l.Instances {
			}
		})
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"community", followers, "federation_allowlist", "federation_blocklist", "instance", "local_site", "person", "site"}, first)
	})
}

func TestLoad_SeesTablesThatWereRewrittenWhileItWaited(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		require.NoError(t, w.Fill(t.Context(), lemmy.Size{Instances: 3, Communities: 2, Followers: 20}))
		table := map[lemmy.Line]string{lemmy.V019: "community_follower", lemmy.V10: "community_actions"}[w.Line]
		count := func() (n int) {
			require.NoError(t, pg.Load(t.Context(), conn, func(l *pg.Loaded) {
				for range l.Followers {
					n++
				}
			}))
			return n
		}
		want := count()
		require.NotZero(t, want)
		look := another(t, conn)
		tx, err := another(t, conn).Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `alter table `+table+` add column noise double precision default random()`)
		require.NoError(t, err)
		pid := int64(conn.PgConn().PID())
		loaded := make(chan int, 1)
		go func() { loaded <- count() }()
		require.Eventually(t, func() bool {
			return value[bool](t, look, `select exists (select from pg_locks where pid = $1::bigint and not granted)`, pid)
		}, time.Minute, time.Millisecond)
		require.NoError(t, tx.Commit(t.Context()))
		require.Equal(t, want, <-loaded)
	})
}

func TestSaving_LocksEveryTableFirst(t *testing.T) {
	withWorld(t, func(t *testing.T, _ *lemmy.World, conn *pgx.Conn) {
		saving := pg.Saving{
			Letters: []pg.Letter{{ActivityID: 1, Reason: "x", FirstAt: time.Now(), LastAt: time.Now()}},
			Passed:  pg.Passed{Cursor: 1, InstanceIDs: []int32{1}, Expected: []int64{0}},
		}
		batch, _, err := saving.Batch()
		require.NoError(t, err)
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), batch.QueuedQueries[0].SQL)
		require.NoError(t, err)
		require.Equal(t, []string{"federation_queue_state", "instance"}, tablesOf(t, conn, conn.PgConn().PID(), "RowExclusiveLock"))
		require.Subset(t, tablesOf(t, conn, conn.PgConn().PID(), "AccessShareLock"), []string{"instance", "local_site", "site"})
		require.NoError(t, tx.Rollback(t.Context()))
		require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
	})
}
