package sender

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestOpenSession_WaitsForOthersOnlyWhenAnotherServerAnswersForOneThatFellSilent(t *testing.T) {
	config, err := pg.ParseConfig(postgres.Database(t))
	require.NoError(t, err)
	e := &engine{log: slog.New(slog.DiscardHandler), id: "opens"}
	e.logins.lease.Store(config)
	session, err := e.openSession(t.Context())
	require.NoError(t, err)
	here := session.ServerStart()
	require.WithinDuration(t, time.Now(), here, time.Hour)
	session.Close()

	other := here.Add(-time.Minute)
	const left = 500 * time.Millisecond
	at := func() time.Time { return time.Now().Add(left - lease.Term) }
	for name, c := range map[string]struct {
		last sessionLoss
		wait bool
	}{
		"another server after silence":     {sessionLoss{server: other, silent: true, at: at()}, true},
		"another server, long ago":         {sessionLoss{server: other, silent: true, at: time.Now().Add(-lease.Term)}, false},
		"the same server":                  {sessionLoss{server: here, silent: true, at: at()}, false},
		"the other server ended it":        {sessionLoss{server: other, at: at()}, false},
		"the first session of a process":   {sessionLoss{}, false},
		"another server, a moment is left": {sessionLoss{server: other, silent: true, at: at().Add(-left / 2)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e.lastSession = c.last
			session, err := e.openSession(t.Context())
			require.NoError(t, err)
			defer session.Close()
			over := c.last.at.Add(lease.Term)
			if c.wait {
				require.False(t, time.Now().Before(over), "opened while others may deliver")
			}
		})
	}
}

func TestRewind_EndsWithTheSession(t *testing.T) {
	config, err := pg.ParseConfig(postgres.Database(t))
	require.NoError(t, err)
	e := &engine{log: slog.New(slog.DiscardHandler), id: "rewinds", rewinds: make(chan chan struct{}, 1)}
	e.logins.lease.Store(config)
	session, err := e.openSession(t.Context())
	require.NoError(t, err)
	defer session.Close()
	other, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close(context.WithoutCancel(t.Context()))) }()
	var ended error
	var rewinding sync.WaitGroup
	rewinding.Go(func() { ended = e.rewind(t.Context(), session) })
	<-e.rewinds // and the head does not get anywhere
	_, err = other.Exec(t.Context(), `select pg_terminate_backend($1::int)`, session.PID())
	require.NoError(t, err)
	rewinding.Wait()
	require.ErrorIs(t, ended, pg.ErrSessionLost)
}
