package fleet

import (
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
)

// StrictFediverse runs until the test ends and fails it for each violation that was noted.
func StrictFediverse(t *testing.T) *fediverse.Fediverse {
	t.Helper()
	fedi, err := fediverse.Start(fediverse.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		violations, _ := fedi.Ledger().Violations()
		for _, violation := range violations {
			t.Error(violation)
		}
		if err := fedi.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return fedi
}
