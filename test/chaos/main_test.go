// Package chaos does to real senders what production does: writers that commit late, kills, hangs, cut links, restarts of
// the database, receivers that misbehave. The ledger of the receivers judges, and samples of cursors and locks.
//
// Each test has a short form, which takes seconds and is part of make test, and a long one (FEDSENDER_CHAOS=long, make
// chaos). Both print their figures (-v).
package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
	"github.com/fedsender/fedsender/test/postgres"
)

var long = os.Getenv("FEDSENDER_CHAOS") == "long"

// pick chooses between the two forms of a test.
func pick[T any](short, whole T) T {
	if long {
		return whole
	}
	return short
}

// patience bounds a whole test; only a broken one takes so long.
func patience() time.Duration { return pick(5*time.Minute, 25*time.Minute) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	t.Cleanup(cancel)
	return ctx
}

// seed is what the choices of the tests follow from: FEDSENDER_CHAOS_SEED, or another one each time.
var seed = sync.OnceValue(func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("FEDSENDER_CHAOS_SEED"), 10, 64); err == nil {
		return n
	}
	return rand.Uint64()
})

// parallel lets the short forms, which mostly wait, run beside each other. The long ones measure.
func parallel(t *testing.T) {
	t.Helper()
	if !long {
		t.Parallel()
		slots <- struct{}{}
		t.Cleanup(func() { <-slots })
	}
}

// besides is how many tests that mostly wait may run beside each other.
const besides = 6

// slots are for tests that keep a processor busy.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// beside is parallel for tests that wait for most of their time, so that the number of processors is no measure.
func beside(t *testing.T) {
	t.Helper()
	if !long {
		t.Parallel()
	}
}

func TestMain(m *testing.M) {
	if err := network.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	if !long {
		_ = flag.Set("test.parallel", strconv.Itoa(besides+cap(slots))) // there is such a flag
	}
	code := fleet.Main(postgres.Tests{M: m})
	if err := bells.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// binary returns the sender's executable, built with a tag or with none.
func binary(t *testing.T, tag string) string {
	t.Helper()
	path, err := fleet.Binary(context.WithoutCancel(t.Context()), tag)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// bells is a server that, unlike the shared one, allows no prepared transactions, so that its triggers ring.
var bells ringing

type ringing struct {
	mu     sync.Mutex
	server *postgres.Server
	names  int
}

// database makes a fresh one and returns its URL.
func (r *ringing) database(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		server, err := postgres.Start(context.WithoutCancel(t.Context()), postgres.Options{Settings: settings})
		if err != nil {
			t.Fatal(err)
		}
		r.server = server
	}
	r.names++
	url, err := r.server.CreateDatabase(t.Context(), fmt.Sprintf("chaos_%d", r.names))
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func (r *ringing) close() error {
	if r.server == nil {
		return nil
	}
	return r.server.Close()
}

// settings are of servers that the tests start for themselves.
var settings = map[string]string{"max_connections": "300"}
