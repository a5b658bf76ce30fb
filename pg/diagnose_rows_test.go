package pg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestDiagnose_TablesThatLackTheirOneRow(t *testing.T) {
	owner := withFollowers(t)
	config := owner.Config()
	require.Equal(t, pg.OK, finding(t, config, "single rows")[0].Verdict)
	execute(t, owner, `update fedsender.queue_state set last_successful_id = 20 + instance_id`)
	execute(t, owner, `truncate fedsender.feed, fedsender.balance, fedsender.doorbell, fedsender.sweep`)
	found := finding(t, config, "single rows")
	require.Len(t, found, 1)
	require.Equal(t, pg.Bad, found[0].Verdict)
	require.Contains(t, found[0].Says, "fedsender.doorbell, fedsender.feed, fedsender.sweep, fedsender.balance should have one row")
	require.Contains(t, found[0].Mend, "sender migrate")

	for range 2 {
		migrate(t, owner, pg.MigrateOptions{})
		require.Equal(t, pg.OK, finding(t, config, "single rows")[0].Verdict)
	}
	require.EqualValues(t, 21, value[int64](t, owner, `select horizon from fedsender.feed`), "up to there all is settled")
	require.False(t, value[bool](t, owner, `select armed from fedsender.doorbell`))
	_, _, err := pg.Prune(t.Context(), owner, 1)
	require.NoError(t, err)
}

func TestDiagnose_WeightsThatNoSenderWrote(t *testing.T) {
	owner := migrated(t)
	config := owner.Config()
	require.Empty(t, finding(t, config, "weights"))
	for weights, warns := range map[string]bool{
		`{"light": 10, "processes": [{"id": "a", "percent": 25}]}`: false,
		`[]`: true, `null`: true, `{"processes": 3}`: true, `{"processes": [{"id": "a"}]}`: true,
		`{"processes": [1]}`: true, `{"heavy": "x"}`: true, `{"x": "\u0000"}`: true,
	} {
		execute(t, owner, `update fedsender.balance set weights = $1::text::json`, weights)
		found := finding(t, config, "weights")
		require.Equal(t, warns, len(found) == 1, "%s: %v", weights, found)
		require.True(t, !warns || found[0].Verdict == pg.Warn, "%s: %v", weights, found)
	}
}

func TestDiagnose_LocksOfOthers(t *testing.T) {
	owner := withFollowers(t)
	openLeaseSession(t, owner.Config(), "a")
	require.Empty(t, finding(t, owner.Config(), "locks of others"))
	stranger := another(t, owner)
	execute(t, stranger, `set application_name = 'psql'`)
	execute(t, stranger, `select pg_advisory_lock($1::int, 1), pg_advisory_lock($1::int, 2)`, pg.LeaseClass)
	found := finding(t, owner.Config(), "locks of others")
	require.Len(t, found, 1)
	require.Equal(t, pg.Bad, found[0].Verdict)
	require.Contains(t, found[0].Says, "pid "+value[string](t, stranger, `select pg_backend_pid()::text`)+" (psql) holds 2 of")
}

func TestDiagnose_ProcessesThatMayNotHoldAll(t *testing.T) {
	owner := withFollowers(t)
	config := owner.Config()
	found := finding(t, config, "sender processes")
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Says, "none runs")
	require.Empty(t, finding(t, config, "SENDER_MAX_LEASES"))

	one, err := pg.OpenLeaseSession(t.Context(), config, "a", 1, quiet())
	require.NoError(t, err)
	defer one.Close()
	found = finding(t, config, "SENDER_MAX_LEASES")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Says, "may hold 1 instances together, and there are 2")
	openLeaseSession(t, config, "b") // without a limit
	require.Empty(t, finding(t, config, "SENDER_MAX_LEASES"))
}
