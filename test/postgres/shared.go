package postgres

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// TB is what is used of testing.TB; the package is linked into the demo, which needs no testing.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// shared is the one server of a test binary.
var shared struct {
	mu     sync.Mutex
	server *Server
	err    error
	names  atomic.Int64
}

// Shared returns the server that all tests of a binary share, started by the first. [Main] or [Tests] stops it. It
// takes 300 connections and 100 prepared transactions; a test that needs another one, or stops it, starts its own.
func Shared(t TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start(context.WithoutCancel(t.Context()), Options{Settings: map[string]string{
			"max_connections":           "300",
			"max_prepared_transactions": "100",
		}})
	}
	if shared.err != nil {
		t.Fatalf("the shared Postgres did not start: %v", shared.err)
	}
	return shared.server
}

// Database makes a fresh database on the shared server and returns its URL; the setups, such as migrations, are run
// on it. It is dropped with its sessions when the test ends.
func Database(t TB, setups ...func(ctx context.Context, url string) error) string {
	t.Helper()
	server := Shared(t)
	name := fmt.Sprintf("test_%d", shared.names.Add(1))
	url, err := server.CreateDatabase(t.Context(), name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx := context.WithoutCancel(t.Context()) // the test's own is over by then
	t.Cleanup(func() {
		if err := server.DropDatabase(ctx, name); err != nil {
			t.Errorf("%v", err)
		}
	})
	for _, setup := range setups {
		if err := setup(t.Context(), url); err != nil {
			t.Fatalf("set up the database: %v", err)
		}
	}
	return url
}

// Tests runs the tests of a binary and closes the shared server. It is what goleak.VerifyTestMain takes:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }
type Tests struct {
	M interface{ Run() int }
}

// Run returns the exit code.
func (tests Tests) Run() int {
	code := tests.M.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close the shared Postgres:", err)
		return max(code, 1)
	}
	return code
}

// Main is [Tests] for a TestMain without goleak:
//
//	func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }
func Main(m interface{ Run() int }) int { return Tests{M: m}.Run() }
