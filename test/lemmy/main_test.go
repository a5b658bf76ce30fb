package lemmy_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

// patience is how long a test waits for what should take a second; only a broken one waits so long.
const patience = 60 * time.Second

// onBothLines runs a test on the tables of each line, beside other tests: most of them wait.
func onBothLines(t *testing.T, test func(t *testing.T, line lemmy.Line)) {
	t.Parallel()
	for _, line := range lemmy.Lines {
		t.Run(string(line), func(t *testing.T) {
			t.Parallel()
			test(t, line)
		})
	}
}

// sender is the path of the binary, built by the first who asks.
func sender(t *testing.T) string {
	t.Helper()
	path, err := fleet.Binary(context.Background(), "")
	ok(t, err)
	return path
}

// ok ends the test with the error, if there is one.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
