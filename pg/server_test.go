package pg_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestServerID_TellsDatabasesAndServersApart(t *testing.T) {
	one, two := admin(t, postgres.Database(t)), admin(t, postgres.Database(t))
	id := func(conn *pgx.Conn) pg.ServerID {
		id, err := pg.ReadServerID(t.Context(), conn)
		require.NoError(t, err)
		return id
	}
	require.Equal(t, id(one), id(one))
	require.NotEqual(t, id(one), id(two))
	require.Equal(t, int64(1), id(one).Timeline)
	later := id(one)
	later.Timeline++
	require.True(t, later.Replaces(id(one)))
	require.False(t, id(one).Replaces(later))
	elsewhere := later
	elsewhere.System = "another"
	require.False(t, elsewhere.Replaces(id(one)))
}

func TestLeadsElsewhere_OnlyWhenEveryHostAnswered(t *testing.T) {
	dsn := postgres.Database(t)
	server := parse(t, dsn)
	connect := func(hosts string, refuse error) error {
		config := parse(t, strings.Replace(dsn, "127.0.0.1:"+itoa(server.Port), hosts, 1))
		config.ValidateConnect = nil
		pg.Confine(config, func(pg.ServerID) error { return refuse })
		_, err := pgx.ConnectConfig(t.Context(), config)
		require.Error(t, err)
		return err
	}
	here := "127.0.0.1:" + itoa(server.Port)
	require.True(t, pg.LeadsElsewhere(connect(here, pg.ErrOtherServer)))
	require.True(t, pg.LeadsElsewhere(connect(here+","+here, pg.ErrOtherServer)))
	require.False(t, pg.LeadsElsewhere(connect(here+",127.0.0.1:1", pg.ErrOtherServer)), "the one that is meant may be the one that is away")
	require.False(t, pg.LeadsElsewhere(connect(here, pg.ErrReadOnly)))
	preferred := parse(t, strings.Replace(dsn, "sslmode=disable", "sslmode=prefer", 1))
	require.Len(t, preferred.Fallbacks, 1, "with TLS and without")
	pg.Confine(preferred, func(pg.ServerID) error { return pg.ErrOtherServer })
	_, err := pgx.ConnectConfig(t.Context(), preferred)
	require.True(t, pg.LeadsElsewhere(err), "to refuse TLS is an answer too")
	require.False(t, pg.LeadsElsewhere(errors.New("a statement failed")))
}

func itoa(port uint16) string { return strconv.Itoa(int(port)) }
