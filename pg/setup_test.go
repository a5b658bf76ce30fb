package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

const keepalives = `
	select concat_ws(' ', current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'))`

func TestKeepAlive_ThePoolAndTheListenerAreDroppedAsSoonAsTheLeases(t *testing.T) {
	config := parse(t, postgres.Database(t))
	pool, err := pg.Open(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	require.Equal(t, "6 2 2", value[string](t, pool, keepalives))

	seen := make(chan string, 1)
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		answer := conn.ExecParams(ctx, keepalives, nil, nil, nil, nil).Read()
		if answer.Err == nil {
			seen <- string(answer.Rows[0][0])
		}
		return answer.Err
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	var listening conc.WaitGroup
	defer listening.Wait()
	defer stop()
	listening.Go(func() {
		none := func() {}
		_ = pg.Listen(ctx, func() *pgx.ConnConfig { return config }, pg.Bells{Activity: none, Change: none, Doorbell: none, Lease: func(string) {}}, quiet())
	})
	select {
	case got := <-seen:
		require.Equal(t, "6 2 2", got)
	case <-ctx.Done():
		t.Fatal("nobody listens")
	}
}

func TestKeepAlive_IsDoneWithoutWhereItIsRefused(t *testing.T) {
	owner := migrated(t)
	conn := role(t, owner, "sender")
	execute(t, owner, `revoke execute on function set_config(text, text, boolean) from public`)
	defer execute(t, owner, `grant execute on function set_config(text, text, boolean) to public`)
	pool, err := pg.Open(t.Context(), conn.Config())
	require.NoError(t, err)
	defer pool.Close()
	require.NotEqual(t, "6 2 2", value[string](t, pool, keepalives))
}

func TestKeepAlive_LeavesSessionsOfAPoolerAlone(t *testing.T) {
	for _, perSession := range []bool{true, false} {
		config := parse(t, postgres.Database(t))
		newPooler(t, config, perSession)
		pool, err := pg.Open(t.Context(), config)
		require.NoError(t, err)
		defer pool.Close()
		require.NotEqual(t, "6 2 2", value[string](t, pool, keepalives))
	}
}
