package sender

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestAdmit_SaysOnceWhatItCostsThatAServerDoesNotNameItsSystem(t *testing.T) {
	var text bytes.Buffer
	e := &engine{log: slog.New(slog.NewTextHandler(&text, nil))}
	require.NoError(t, e.admit(pg.ServerID{System: "1", Timeline: 1, Started: 1}))
	require.Empty(t, text.String())
	for range 3 {
		require.NoError(t, e.admit(pg.ServerID{Started: 1}))
		require.NoError(t, e.admitLeases(pg.ServerID{Started: 2}))
	}
	require.Equal(t, 1, strings.Count(text.String(), "is not recognised"), text.String())
}
