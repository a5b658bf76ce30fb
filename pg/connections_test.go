package pg_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestConnectionLimit_IsTheSmallerOneOfRoleAndDatabase(t *testing.T) {
	owner := migrated(t)
	database := value[string](t, owner, `select quote_ident(current_database())`)
	conn := role(t, owner, "sender")
	name := conn.Config().User
	for _, c := range []struct {
		role, database int
		of             string
		most           int
		verdict        string
	}{
		{-1, -1, "", -1, pg.OK},
		{6, 7, "role " + name, 6, pg.OK},
		{5, 10, "role " + name, 5, pg.Warn},
		{-1, 5, "database " + database, 5, pg.Warn},
		{1, -1, "role " + name, 1, pg.Bad},
	} {
		execute(t, owner, `alter role `+name+` connection limit `+strconv.Itoa(c.role)+`; alter database `+database+` connection limit `+strconv.Itoa(c.database))
		limit, err := pg.ReadConnectionLimit(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, c.most, limit.Most)
		if c.most >= 0 {
			require.Equal(t, c.of, limit.Of)
		}
		if c.most == 1 {
			require.NoError(t, conn.Close(t.Context())) // the doctor has the one
		}
		var found []pg.Finding
		require.Eventually(t, func() bool { // the server counts a closed connection a little longer than it shows it
			found = finding(t, conn.Config(), "connections")
			return len(found) == 1
		}, time.Minute, time.Millisecond)
		require.Equal(t, c.verdict, found[0].Verdict, found[0].Says)
	}
	limit, err := pg.ReadConnectionLimit(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, -1, limit.Most, "superusers have none")

	var taken *pgx.Conn
	require.Eventually(t, func() bool { // the doctor's was closed a moment ago
		taken, err = pgx.ConnectConfig(t.Context(), conn.Config())
		return err == nil
	}, time.Minute, time.Millisecond)
	defer func() { require.NoError(t, taken.Close(context.WithoutCancel(t.Context()))) }()
	_, err = pgx.ConnectConfig(t.Context(), conn.Config())
	requireSentence(t, pg.Explain(err, conn.Config()), true, "too many connections for role", "alter role "+name+" connection limit 6")
}
