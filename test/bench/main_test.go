// Package bench measures the whole of it: real processes, real Postgres, receivers on the same machine. The benchmarks
// print figures for a person to compare with the budgets; nothing here judges them. The tests run each once, small, so that
// they can't rot.
package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/receiver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "receiver" {
		if err := receiver.Run(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := fleet.Main(m)
	if err := removePrograms(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// long says whether the figures of the documentation are wanted, which takes minutes.
func long() bool { return os.Getenv("FEDSENDER_BENCH") == "long" }

// bench is a database server of its own, as in production: durable, without prepared transactions, with room for 30,000
// locks; and what runs on it.
type bench struct {
	*fleet.Cluster
	tb     testing.TB
	ctx    context.Context
	server *postgres.Server
	world  world

	contender string // that runs, for the names of profiles
}

func newBench(tb testing.TB, w world) *bench {
	tb.Helper()
	return newBenchOn(tb, w, map[string]string{"max_locks_per_transaction": "1024", "max_connections": "100"})
}

// newBenchOn is for a server with settings of its own.
func newBenchOn(tb testing.TB, w world, settings map[string]string) *bench {
	tb.Helper()
	ctx := context.Background()
	binary, err := fleet.Binary(ctx, "")
	if err != nil {
		tb.Fatal(err)
	}
	settings["shared_buffers"], settings["max_wal_size"] = "256MB", "4GB"
	server, err := postgres.Start(ctx, postgres.Options{Durable: true, Settings: settings})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	url, err := server.CreateDatabase(ctx, "bench")
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.tables(ctx, url); err != nil {
		tb.Fatal(err)
	}
	cluster, err := fleet.NewCluster(ctx, binary, url, fediverse.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cluster.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	if err := w.fill(ctx, cluster); err != nil {
		tb.Fatal(err)
	}
	return &bench{Cluster: cluster, tb: tb, ctx: ctx, server: server, world: w}
}

// start starts senders and waits until they hold everything and have gone to sleep.
func (b *bench) start(n int) []*fleet.Sender {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	senders, err := b.Start(ctx, n)
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := b.WaitHeld(ctx, n); err != nil {
		b.tb.Fatal(err)
	}
	err = fleet.Until(ctx, "the senders sleep", func() (armed bool, err error) {
		err = b.DB.QueryRow(ctx, `select armed from fedsender.doorbell`).Scan(&armed)
		return armed, err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return senders
}

func (b *bench) cpu(senders []*fleet.Sender) time.Duration {
	b.tb.Helper()
	var sum time.Duration
	for _, s := range senders {
		cpu, err := s.CPU()
		if err != nil {
			b.tb.Fatal(err)
		}
		sum += cpu
	}
	return sum
}

// percentile of a sorted list.
func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func sorted(list []time.Duration) []time.Duration {
	slices.Sort(list)
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
