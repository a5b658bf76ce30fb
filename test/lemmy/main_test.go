package lemmy_test

import (
	"os"
	"testing"

	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }
