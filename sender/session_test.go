package sender

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

func TestOpenSession_DoesNotWaitAgainForAHostThatSaysNothing(t *testing.T) {
	config, err := pg.ParseConfig(postgres.Database(t))
	require.NoError(t, err)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var accepting sync.WaitGroup
	asked := 0
	accepting.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			asked++
			defer conn.Close()
		}
	})
	config.Fallbacks = []*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}
	config.Port = uint16(silent.Addr().(*net.TCPAddr).Port)
	config.ConnectTimeout = 300 * time.Millisecond
	e := &engine{log: slog.New(slog.DiscardHandler), id: "opens"}
	e.logins.lease.Store(config)
	e.logins.pool.Store(config)
	for range 2 {
		session, err := e.openSession(t.Context())
		require.NoError(t, err)
		session.Close()
	}
	other, err := pgx.ConnectConfig(t.Context(), e.poolLogin())
	require.NoError(t, err)
	require.NoError(t, other.Close(t.Context()))
	require.NoError(t, silent.Close())
	accepting.Wait()
	require.Equal(t, 1, asked)
}

func TestFollow_GivesUpWhatStillWaitsForAnotherServer(t *testing.T) {
	config, err := pg.ParseConfig(postgres.Database(t))
	require.NoError(t, err)
	e := &engine{log: slog.New(slog.DiscardHandler), id: "follows", poolConfig: config.Copy()}
	e.logins.lease.Store(config)
	e.logins.pool.Store(config)
	pg.Confine(e.poolConfig, e.admit)
	e.cutter = pg.Cuttable(t.Context(), e.poolConfig)
	e.pool, err = pg.NewPool(t.Context(), e.poolConfig, 2, e.poolLogin)
	require.NoError(t, err)
	defer e.pool.Close()
	conn, err := e.pool.Acquire(t.Context())
	require.NoError(t, err)
	var waited error
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer conn.Release()
		_, waited = conn.Exec(t.Context(), `select pg_sleep(600)`)
	})
	session, err := e.openSession(t.Context())
	require.NoError(t, err)
	defer session.Close()
	before := session.Server()
	before.Started--
	e.latest.Store(&before)
	require.NoError(t, e.follow(t.Context(), session, false))
	waiting.Wait()
	require.Error(t, waited)
}

func TestReadWeights_SaysInOneSentenceThatTheDatabaseIsAway(t *testing.T) {
	config, err := pg.ParseConfig("postgres://u@127.0.0.1:1/x")
	require.NoError(t, err)
	e := &engine{poolConfig: config}
	e.pool, err = pg.NewPool(t.Context(), config.Copy(), 1, nil)
	require.NoError(t, err)
	defer e.pool.Close()
	_, err = e.readWeights(t.Context())
	require.ErrorContains(t, err, "can't connect to database x as user u on 127.0.0.1:1: connection refused")
	require.NotContains(t, err.Error(), "\n")
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
