package pg_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestCutter_EndsWhatWaitsAndRenewedTakesLaterOnes(t *testing.T) {
	cfg := parse(t, postgres.Database(t))
	cutter := pg.Cuttable(t.Context(), cfg)
	for range 2 {
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		require.NoError(t, err)
		waits := make(chan error, 1)
		go func() {
			_, err := conn.Exec(t.Context(), `select pg_sleep(60)`)
			waits <- err
		}()
		cutter.Renew()
		require.Error(t, <-waits)
		require.True(t, conn.IsClosed())
	}
	cutter.Cut()
	cutter.Renew()
	_, err := pgx.ConnectConfig(t.Context(), cfg)
	require.Error(t, err, "it is over")
}
