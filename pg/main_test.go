package pg_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }
