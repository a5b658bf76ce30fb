package pg_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestLeaseSession_TellsOthersHowManyLeasesItTakesAndWhatItPlansWith(t *testing.T) {
	config := parse(t, postgres.Database(t))
	id := strings.Repeat("i", 30)
	s, err := pg.OpenLeaseSession(t.Context(), config, id, 5_000_000, quiet())
	require.NoError(t, err)
	defer s.Close()
	other := openLeaseSession(t, config, "b")
	seen := func() (p pg.LeasePeer) {
		peers, err := other.Beat(t.Context())
		require.NoError(t, err)
		for _, p = range peers {
			if p.ID == id {
				return p
			}
		}
		return pg.LeasePeer{}
	}
	require.Equal(t, 999_999, seen().MaxLeases)
	require.Zero(t, seen().Weights)
	require.NoError(t, s.Show(t.Context(), 9_999_999))
	require.EqualValues(t, 9_999_999, seen().Weights)
	require.False(t, seen().Leaving)
	require.NoError(t, s.Leave(t.Context()))
	require.True(t, seen().Leaving)
	require.Equal(t, 999_999, seen().MaxLeases)
	require.NoError(t, other.Terminate(t.Context(), seen()))
	require.ErrorIs(t, s.Wait(t.Context()), pg.ErrSessionLost)
}
