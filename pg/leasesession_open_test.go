package pg_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestOpenLeaseSession_RefusesWhatIsNoID(t *testing.T) {
	for _, id := range []string{"", "a:b", "with space", "line\n", "ünicode", strings.Repeat("i", 31)} {
		_, err := pg.OpenLeaseSession(t.Context(), parse(t, "host=127.0.0.1 port=1 user=x"), id, 0, quiet())
		require.ErrorContains(t, err, "id of a process")
	}
}

func TestOpenLeaseSession_ReadOnlyDatabaseIsATypedError(t *testing.T) {
	dsn := postgres.Database(t)
	look := admin(t, dsn)
	config := parse(t, dsn)
	_, err := look.Exec(t.Context(), `alter database `+pgx.Identifier{config.Database}.Sanitize()+` set default_transaction_read_only = on`)
	require.NoError(t, err)
	_, err = pg.OpenLeaseSession(t.Context(), config, "a", 0, quiet())
	require.ErrorIs(t, err, pg.ErrReadOnly)
	_, err = pg.OpenLeaseSession(t.Context(), parse(t, "postgres://nobody@127.0.0.1:1/x"), "a", 0, quiet())
	var explained *pg.ConnectError
	require.ErrorAs(t, err, &explained)
}

func TestLeaseSession_HeartbeatSeesThatTheServerTakesNoWritesAnyMore(t *testing.T) {
	dsn := postgres.Database(t)
	s := openLeaseSession(t, parse(t, dsn), "a")
	_, err := s.Beat(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Save(t.Context(), statements(`set default_transaction_read_only = on`))) // as a server that is told so has it
	_, err = s.Beat(t.Context())
	require.ErrorIs(t, err, pg.ErrReadOnly)
	require.ErrorIs(t, err, pg.ErrSessionLost)
	require.True(t, s.FellSilent(), "others may not have seen it yet")
}

func TestOpenLeaseSession_PoolerInTransactionModeIsRefusedInSessionModeAllowed(t *testing.T) {
	config := parse(t, postgres.Database(t))
	perTransaction, perSession := config.Copy(), config.Copy()
	newPooler(t, perTransaction, false)
	inBetween := newPooler(t, perSession, true)
	_, err := pg.OpenLeaseSession(t.Context(), perTransaction, "a", 0, quiet())
	require.ErrorIs(t, err, pg.ErrPooled)
	require.ErrorContains(t, err, "SENDER_LEASE_DATABASE_URL")

	var log bytes.Buffer
	s, err := pg.OpenLeaseSession(t.Context(), perSession, "a", 0, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	defer s.Close()
	require.Contains(t, log.String(), "pooler")
	_, err = s.Beat(t.Context())
	require.NoError(t, err)
	inBetween.change()
	_, err = s.Beat(t.Context())
	require.ErrorIs(t, err, pg.ErrPooled)
	require.ErrorIs(t, err, pg.ErrSessionLost)
}

func TestOpenLeaseSession_SettingThatIsRefusedIsToldWithItsCost(t *testing.T) {
	config := parse(t, postgres.Database(t))
	newPooler(t, config, true).refuse("tcp_user_timeout")
	var log bytes.Buffer
	s, err := pg.OpenLeaseSession(t.Context(), config, "a", 0, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, 1, strings.Count(log.String(), "the server refuses a setting"), log.String())
	require.Contains(t, log.String(), "setting=tcp_user_timeout")
	require.Contains(t, log.String(), "keeps its leases for up to 15 minutes")
	got, err := s.Lock(t.Context(), []int32{1})
	require.NoError(t, err)
	require.Equal(t, []int32{1}, got)
	batch := &pgx.Batch{}
	batch.Queue(`select current_setting('tcp_keepalives_idle'), current_setting('search_path')`).QueryRow(func(row pgx.Row) error {
		var idle, path string
		err := row.Scan(&idle, &path)
		require.Equal(t, "6", idle)
		require.Equal(t, "pg_catalog, pg_temp", path)
		return err
	})
	require.NoError(t, s.Save(t.Context(), batch))
}
