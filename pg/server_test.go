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

// TestServerID_IsMadeOfWhatIsLeftWhereFunctionsAreRefused has one database whose functions nobody may call.
func TestServerID_IsMadeOfWhatIsLeftWhereFunctionsAreRefused(t *testing.T) {
	owner := migrated(t)
	whole, err := pg.ReadServerID(t.Context(), owner)
	require.NoError(t, err)
	conn := role(t, owner, "sender")
	grant(t, owner, conn, senderGrants)
	name := conn.Config().User
	identity := func() pg.Finding {
		found := finding(t, conn.Config(), "server identity")
		require.Len(t, found, 1)
		return found[0]
	}
	require.Equal(t, pg.OK, identity().Verdict)
	functions := []string{"pg_control_system()", "pg_current_wal_insert_lsn()", "pg_walfile_name(pg_lsn)"}
	for _, function := range functions {
		t.Run(function, func(t *testing.T) {
			execute(t, owner, `revoke execute on function `+function+` from public`)
			defer execute(t, owner, `grant execute on function `+function+` to public`)
			var seen pg.ServerID
			config := conn.Config().Copy()
			pg.Confine(config, func(id pg.ServerID) error { seen = id; return nil })
			session := openLeaseSession(t, config, "managed")
			require.False(t, seen.NamesSystem())
			require.Equal(t, whole.Started, seen.Started)
			require.Equal(t, seen, session.Server())
			require.True(t, seen.Is(whole), "another role is told more")
			require.True(t, whole.Is(seen))
			reached, err := pg.ReadServerID(t.Context(), conn)
			require.NoError(t, err)
			require.Equal(t, seen, reached)
			found := identity()
			require.Equal(t, pg.Warn, found.Verdict)
			require.Contains(t, found.Says, "replaced")
			require.Equal(t, "grant execute on function "+function+" to "+name, found.Mend)
			var ofLeases []string
			for _, f := range pg.Diagnose(t.Context(), owner.Config(), conn.Config(), pg.Outside{}) {
				if f.What == "lease connection" {
					ofLeases = append(ofLeases, f.Mend)
				}
			}
			require.Contains(t, ofLeases, found.Mend, "two roles on one server are told different things")
			execute(t, owner, found.Mend)
			require.Equal(t, pg.OK, identity().Verdict)
			execute(t, owner, `revoke execute on function `+function+` from `+name)
		})
	}
	elsewhere, later := whole, whole
	elsewhere.System, elsewhere.Started = "", whole.Started+1
	require.False(t, elsewhere.Is(whole))
	later.System, later.Timeline = "", whole.Timeline+1
	require.False(t, later.Replaces(elsewhere), "two that do not say their system may have nothing in common")
}

// TestConfine_LooksAtAConnectionOnce takes away between two looks what the second would need.
func TestConfine_LooksAtAConnectionOnce(t *testing.T) {
	owner := migrated(t)
	config := role(t, owner, "sender").Config().Copy()
	var seen []pg.ServerID
	note := func(id pg.ServerID) error {
		seen = append(seen, id)
		execute(t, owner, `revoke execute on function pg_control_system() from public`)
		return nil
	}
	defer execute(t, owner, `grant execute on function pg_control_system() to public`)
	pg.Confine(config, note)
	pg.Confine(config, note)
	session := openLeaseSession(t, config, "once")
	require.Len(t, seen, 2)
	require.True(t, seen[0].NamesSystem())
	require.Equal(t, seen[0], seen[1])
	require.Equal(t, seen[0], session.Server())
}
