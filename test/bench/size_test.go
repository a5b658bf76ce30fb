package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

// sizing is a fleet of many processes that hold many instances.
type sizing struct {
	*bench
	instances int
	poll      time.Duration // how often the locks are looked at: that is dear where many are held
	calm      time.Duration // for how long nothing may move until a change counts as over
}

// newSizing makes a server with room for so many processes and for the locks, and a world with so many instances.
func newSizing(tb testing.TB, instances, processes int) *sizing {
	tb.Helper()
	connections := 6*processes + 40
	b := newBenchOn(tb, &native{seeding: fleet.Seeding{Actors: 4, Instances: instances}}, map[string]string{
		"max_connections":           fmt.Sprint(connections),
		"max_locks_per_transaction": fmt.Sprint(max(64, 3*instances/connections)),
		"shared_preload_libraries":  "pg_stat_statements",
	})
	if _, err := b.DB.Exec(b.ctx, `create extension pg_stat_statements`); err != nil {
		tb.Fatal(err)
	}
	return &sizing{bench: b, instances: instances, poll: 200 * time.Millisecond, calm: 3 * time.Second}
}

// shares returns how many instances each lease session holds, by its backend.
func (s *sizing) shares() map[int]int {
	s.tb.Helper()
	rows, err := s.DB.Query(s.ctx, `
		select pid, count(*)
		from pg_locks /* measuring */
		where locktype = 'advisory' and classid = $1::int8::oid and objsubid = 2 and granted
		group by pid`, int64(pg.LeaseClass))
	if err != nil {
		s.tb.Fatal(err)
	}
	held := map[int]int{}
	var pid, count int
	if _, err = pgx.ForEachRow(rows, []any{&pid, &count}, func() error { held[pid] = count; return nil }); err != nil {
		s.tb.Fatal(err)
	}
	return held
}

// change is what it took until everything was held again and nothing moved any more.
type change struct {
	held, settled time.Duration
	moves         int
	low, high     int // shares at the end
	statements    statements
}

func (c change) String() string {
	return fmt.Sprintf("all held after %.1f s, settled after %.1f s with shares of %d to %d; %d leases taken; %s",
		c.held.Seconds(), c.settled.Seconds(), c.low, c.high, c.moves, c.statements)
}

// watch does something to the fleet and waits until n processes hold everything and nothing moves.
func (s *sizing) watch(n int, do func()) change {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	before := s.taken()
	s.countStatements()
	began := time.Now()
	do()
	var c change
	last, since := map[int]int{}, began
	ticker := time.NewTicker(s.poll)
	defer ticker.Stop()
	for {
		shares, total := s.shares(), 0
		for _, count := range shares {
			total += count
		}
		now := time.Now()
		if !maps.Equal(shares, last) {
			last, since = shares, now
		}
		if total < s.instances {
			c.held = now.Sub(began) + s.poll
		}
		if total == s.instances && len(shares) == n && now.Sub(since) > s.calm {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			s.tb.Fatalf("%d of %d instances are held by %d processes: %v", total, s.instances, len(shares), shares)
		}
	}
	counts := slices.Sorted(maps.Values(last))
	c.settled, c.low, c.high = since.Sub(began), counts[0], counts[len(counts)-1]
	c.statements = s.countStatements()
	for name, taken := range s.taken() {
		c.moves += taken - before[name]
	}
	return c
}

// taken is how many leases each process has taken.
func (s *sizing) taken() map[string]int {
	taken := map[string]int{}
	for _, one := range s.Senders() {
		metrics, err := one.Metrics(s.ctx)
		if err != nil {
			s.tb.Fatal(err)
		}
		taken[one.Name] = int(metrics["fedsender_leases_taken_total"])
	}
	return taken
}

func (s *sizing) launch(n int) func() {
	return func() {
		s.tb.Helper()
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
		defer cancel()
		if _, err := s.Launch(ctx, n); err != nil {
			s.tb.Fatal(err)
		}
	}
}

// stop stops processes at one time.
func (s *sizing) stop(senders []*fleet.Sender) {
	s.tb.Helper()
	failed := make(chan error, len(senders))
	for _, one := range senders {
		go func() { failed <- one.Stop(s.ctx) }()
	}
	for range senders {
		if err := <-failed; err != nil {
			s.tb.Error(err)
		}
	}
}

// idle reports what the fleet costs while nothing happens.
func (s *sizing) idle(span time.Duration) string {
	s.tb.Helper()
	senders := s.Senders()
	s.countStatements()
	cpu, began := s.cpu(senders), time.Now()
	time.Sleep(span)
	took := time.Since(began).Seconds()
	cpu = s.cpu(senders) - cpu
	counted := s.countStatements()
	var heap, resident, most float64
	for _, one := range senders {
		m, err := one.Metrics(s.ctx)
		if err != nil {
			s.tb.Fatal(err)
		}
		heap += m["go_memstats_heap_alloc_bytes"]
		resident += m["process_resident_memory_bytes"]
		most = max(most, m["process_resident_memory_bytes"])
	}
	n := float64(len(senders))
	var connections int
	if err := s.DB.QueryRow(s.ctx, `
		select count(*) from pg_stat_activity /* measuring */
		where datname = current_database() and application_name like 'fedsender%'`).Scan(&connections); err != nil {
		s.tb.Fatal(err)
	}
	return fmt.Sprintf("%s; %.1f ms of processor a second; %.0f MiB resident a process (at most %.0f), heap %.0f MiB; %.1f connections a process",
		counted.per(took), 1000*cpu.Seconds()/took, resident/n/(1<<20), most/(1<<20), heap/n/(1<<20), float64(connections)/n)
}

// end stops everything and checks that nothing is left and nothing went wrong.
func (s *sizing) end(all []*fleet.Sender) {
	s.tb.Helper()
	s.stop(s.Senders())
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := fleet.Until(ctx, "no lease is left", func() (bool, error) { return len(s.shares()) == 0, nil }); err != nil {
		s.tb.Error(err)
	}
	for _, one := range all {
		for _, bad := range []string{"53200", "lock table is full", "could not", "panic"} {
			for line := range strings.Lines(one.Log()) {
				if strings.Contains(line, bad) && !strings.Contains(line, `"level":"DEBUG"`) {
					s.tb.Logf("%s: %s", one.Name, strings.TrimSpace(line))
				}
			}
		}
		if log := one.Log(); strings.Contains(log, "53200") {
			s.tb.Errorf("%s met a full lock table", one.Name)
		}
	}
}

// measure takes a fleet of n through its life.
func (s *sizing) measure(n int, span time.Duration) {
	s.tb.Helper()
	var lines []string
	report := func(what string, result any) {
		lines = append(lines, fmt.Sprintf("%d processes, %s: %v", n, what, result))
	}
	defer func() { s.tb.Log("\n" + strings.Join(lines, "\n")) }() // at once: a benchmark shows few logs
	report("start of all at once", s.watch(n, s.launch(n)))
	all := s.Senders()
	report("idle", s.idle(span))
	report("one more", s.watch(n+1, s.launch(1)))
	all = append(all, s.Senders()[n])
	if n > 1 {
		report("one leaves", s.watch(n, func() { s.stop(s.Senders()[:1]) }))
		half := s.Senders()[:n/2]
		report(fmt.Sprintf("%d killed at once", len(half)), s.watch(n-len(half), func() {
			for _, one := range half {
				one.Kill()
			}
		}))
		report(fmt.Sprintf("%d start at once", len(half)), s.watch(n, s.launch(len(half))))
		report("rolling restart", s.watch(n, func() {
			for _, one := range s.Senders() {
				s.stop([]*fleet.Sender{one})
				s.launch(1)()
			}
		}))
		all = append(all, s.Senders()...)
	}
	s.end(all)
}

func BenchmarkSize(b *testing.B) {
	for _, n := range []int{1, 3, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if !long() {
				b.Skip("takes minutes: FEDSENDER_BENCH=long")
			}
			s := newSizing(b, 30_000, n+2)
			s.measure(n, 30*time.Second)
			b.ReportMetric(0, "ns/op")
		})
	}
}

func TestSize_CanBeMeasured(t *testing.T) {
	t.Parallel()
	s := newSizing(t, 300, 4)
	s.calm = 300 * time.Millisecond
	s.measure(2, time.Second)
}
