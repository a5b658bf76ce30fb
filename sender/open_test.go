package sender

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/test/transcript"
)

// limited makes a role that may have so many connections and all that there is, and returns its URL.
func limited(t *testing.T, database string, connections int) (as *url.URL) {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	as, err = url.Parse(database)
	require.NoError(t, err)
	name := fmt.Sprintf("few_%d_%s", connections, strings.TrimPrefix(as.Path, "/"))
	_, err = owner.Exec(t.Context(), fmt.Sprintf(`create role %s login connection limit %d; grant postgres to %[1]s`, name, connections))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, err := owner.Exec(ctx, `drop role `+name)
		require.NoError(t, err)
		require.NoError(t, owner.Close(ctx))
	})
	as.User = url.User(name)
	return as
}

// starting is a process that delivers until end is called.
type starting struct {
	said  transcript.Transcript
	ended chan error // has what Run returned
	end   func()
}

func start(t *testing.T, database, name string) *starting {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	s := &starting{ended: make(chan error, 1), end: stop}
	var running conc.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	running.Go(func() {
		s.ended <- Run(ctx, Config{
			DatabaseURL: database, Name: name, MaxInFlight: 8, MaxInFlightPerInstance: 2, RequestTimeout: time.Second,
			ShutdownTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(slog.NewTextHandler(&s.said, nil)),
		})
	})
	return s
}

func TestRun_LeasesComeFirstWhereTheRoleMayHaveFewConnections(t *testing.T) {
	for connections, listens := range map[int]bool{2: false, 3: true} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			database := postgres.Database(t, fleet.Migrate)
			as := limited(t, database, connections)
			few := start(t, as.String(), "few")
			awaitLease(t, database)
			if listens {
				awaitSession(t, database, "fedsender listener few")
			}
			few.end()
			require.NoError(t, <-few.ended)
			text := few.said.String()
			require.Contains(t, text, fmt.Sprintf("the connection limit of role %s is %d, which is few", as.User.Username(), connections))
			require.Contains(t, text, "connection limit 6")
			require.Equal(t, !listens, strings.Contains(text, "nobody listens"), text)
			// Before that the server may not have forgotten the connection that asked how many there may be.
			_, started, has := strings.Cut(text, "msg=starting")
			require.True(t, has, text)
			require.NotContains(t, started, "too many connections", "they need not fight for them")
		})
	}
	t.Run("1", func(t *testing.T) {
		as := limited(t, postgres.Database(t, fleet.Migrate), 1)
		err := Run(t.Context(), Config{DatabaseURL: as.String(), Name: "few", RequestTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, " is 1 and a process needs 2; alter role "+as.User.Username()+" connection limit 6")
	})
}

// An upgrade of the application may lock tables just when a process starts.
func TestRun_WaitsAtTheStartForATableThatIsLocked(t *testing.T) {
	database := postgres.Database(t, fleet.Migrate)
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `lock table fedsender.feed`)
	require.NoError(t, err)
	late := start(t, database, "late")
	require.Eventually(t, func() bool { return strings.Contains(late.said.String(), "lock timeout") || len(late.ended) > 0 }, time.Minute, 20*time.Millisecond)
	require.Empty(t, late.ended, "it has not given up")
	require.NoError(t, tx.Rollback(t.Context()))
	awaitLease(t, database)
	late.end()
	require.NoError(t, <-late.ended)
}

// awaitSession waits until somebody is connected under the name.
func awaitSession(t *testing.T, database, application string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	require.Eventually(t, func() bool {
		var there bool
		err := conn.QueryRow(t.Context(), `
			select exists (select from pg_stat_activity where application_name = $1 and datname = current_database())`, application).Scan(&there)
		return err == nil && there
	}, time.Minute, 20*time.Millisecond)
}
