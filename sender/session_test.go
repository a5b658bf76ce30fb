package sender

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestOpenSession_WaitsForOthersOnlyWhenAnotherServerAnswersForOneThatFellSilent(t *testing.T) {
	config, err := pg.ParseConfig(postgres.Database(t))
	require.NoError(t, err)
	e := &engine{leaseConfig: config, log: slog.New(slog.DiscardHandler), id: "opens"}
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
