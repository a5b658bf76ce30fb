package pg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestProcesses_SayWhoHangsAndWhoLeaves(t *testing.T) {
	owner := migrated(t)
	s := openLeaseSession(t, parse(t, owner.Config().ConnString()), "a")
	require.NoError(t, pg.WriteProcess(t.Context(), owner, pg.Process{ID: "a", Name: "one"}))
	found, err := pg.Processes(t.Context(), owner)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, s.PID(), found[0].PID)
	require.NotNil(t, found[0].SilentSeconds)
	require.False(t, found[0].Hangs())
	require.True(t, found[0].MayEnd)
	require.False(t, found[0].Leaving)
	require.NoError(t, s.Leave(t.Context()))
	found, err = pg.Processes(t.Context(), owner)
	require.NoError(t, err)
	require.True(t, found[0].Leaving)

	for _, silent := range []float64{8.1, 31} {
		p := pg.ProcessStatus{SilentSeconds: &silent}
		require.True(t, p.Hangs())
		require.Equal(t, silent < 30, p.EndedByOthers())
	}
	require.False(t, (&pg.ProcessStatus{}).Hangs(), "hidden")
}

func TestProcesses_AreSeenWhateverStandsInBalance(t *testing.T) {
	owner := migrated(t)
	openLeaseSession(t, parse(t, owner.Config().ConnString()), "a")
	require.NoError(t, pg.WriteProcess(t.Context(), owner, pg.Process{ID: "a", Name: "one", Load: 2}))
	for weights, capacity := range map[string]int{
		`{"processes": [{"id": "a", "percent": 40}]}`:                              40,
		`{"processes": [{"id": "a", "percent": 40}, {"id": "a", "percent": "x"}]}`: 40,
		`{"processes": [{"id": "a", "percent": 40}, {"id": "a", "percent": 41}]}`:  41,
		`{"processes": [{"id": "a", "percent": 0}]}`:                               100,
		`{"processes": [{"id": "a", "percent": 1e400}]}`:                           100,
		`{"processes": [{"id": "a", "percent": 99999999999}]}`:                     100,
		`{"processes": [1, null, "a", []]}`:                                        100,
		`{"processes": {"a": 1}}`:                                                  100,
		`{"processes": [{"id": "\u0000", "percent": 1}]}`:                          100,
		`[]`: 100, `null`: 100, `3`: 100, `"x"`: 100,
	} {
		execute(t, owner, `update fedsender.balance set weights = $1::text::json`, weights)
		found, err := pg.Processes(t.Context(), owner)
		require.NoError(t, err, weights)
		require.Len(t, found, 1, weights)
		require.Equal(t, capacity, found[0].Capacity, weights)
	}
	execute(t, owner, `delete from fedsender.balance`)
	found, err := pg.Processes(t.Context(), owner)
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestLeaseView_NamesWhoIsNoSender(t *testing.T) {
	owner := withFollowers(t)
	stranger := another(t, owner)
	execute(t, stranger, `set application_name = 'psql'`)
	execute(t, stranger, `select pg_advisory_lock($1::int, 1)`, pg.LeaseClass)
	pid := value[string](t, stranger, `select pg_backend_pid()::text`)
	require.Equal(t, "not a sender: pid "+pid+" (psql)", value[string](t, owner, `select holder from fedsender.instance_status where instance_id = 1`))
	execute(t, stranger, `set application_name = ''`)
	require.Equal(t, "not a sender: pid "+pid, value[string](t, owner, `select holder from fedsender.lease`))
}

func TestBalance_ComesBackWhereItsRowWasDeleted(t *testing.T) {
	owner := migrated(t)
	ctx := t.Context()
	s := openLeaseSession(t, parse(t, owner.Config().ConnString()), "a")
	require.NoError(t, s.Show(ctx, 7))
	execute(t, owner, `delete from fedsender.balance`)
	b, err := pg.ReadBalance(ctx, owner)
	require.NoError(t, err)
	require.EqualValues(t, 8, b.Version, "newer than what anybody plans with")
	require.JSONEq(t, `{}`, string(b.Weights))

	execute(t, owner, `delete from fedsender.balance`)
	written, err := pg.WriteBalance(ctx, owner, pg.Balance{Version: 8, Weights: []byte(`{"light": 3}`), MadeBy: "a"})
	require.NoError(t, err)
	require.True(t, written)
	written, err = pg.WriteBalance(ctx, owner, pg.Balance{Version: 8, Weights: []byte(`{"light": 4}`), MadeBy: "b"})
	require.NoError(t, err)
	require.False(t, written)
	b, err = pg.ReadBalance(ctx, owner)
	require.NoError(t, err)
	require.Equal(t, "a", b.MadeBy)
}

func TestSummary_WithoutTheRowOfTheFeed(t *testing.T) {
	owner := migrated(t)
	execute(t, owner, `delete from fedsender.feed`)
	s, err := pg.Summary(t.Context(), owner)
	require.NoError(t, err)
	require.Zero(t, s.Horizon)
}
