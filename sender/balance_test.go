package sender

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadWeights_RefusesWhatCantBePlannedWithAndSaysWhatToDo(t *testing.T) {
	b := newBench(t)
	w, err := b.readWeights(t.Context())
	require.NoError(t, err)
	require.Zero(t, *w)
	for _, text := range []string{`{"light": -1}`, `{"heavy": 3}`, `[]`} {
		b.exec(`update fedsender.balance set version = version + 1, weights = $1::text::json`, text)
		_, err = b.readWeights(t.Context())
		require.ErrorContains(t, err, "to begin anew: delete from fedsender.balance", text)
	}
	b.exec(`delete from fedsender.balance`)
	_, err = b.readWeights(t.Context())
	require.NoError(t, err)
}
