package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

// backlog is what instances of Lemmy's are behind by.
type backlog struct {
	line            lemmy.Line
	instances, rows int
	// topics are the communities of the rows, which have the same share each. An instance wants the rows of one of them; 0:
	// it wants none, and somebody else who is not behind wants each.
	topics int
	// spread: they stand at places all over the rows, and not all at the first.
	spread bool
}

const (
	// readers want all rows where instances want none: so many as a row is for when 1,000 instances want 5 %.
	readers = 50
	// quietTopics is how many communities there are then.
	quietTopics = 20
)

// world makes it.
func (g backlog) world() *lemmys {
	topics, more := g.topics, 0
	if topics == 0 {
		topics, more = quietTopics, readers
	}
	size := lemmy.Size{Instances: g.instances + more, Communities: topics, Activities: g.rows, Even: true}
	return &lemmys{line: g.line, size: size, extra: func(ctx context.Context, w *lemmy.World) error { return g.extra(ctx, w, topics) }}
}

// extra makes the followers and the cursors.
func (g backlog) extra(ctx context.Context, w *lemmy.World, topics int) error {
	rows, err := w.DB.Query(ctx, `select right(left(domain, -8), 5)::int, id from instance where domain like 'i-%'`)
	if err != nil {
		return err
	}
	instances := map[int]int32{}
	var n int
	var id int32
	if _, err = pgx.ForEachRow(rows, []any{&n, &id}, func() error { instances[n] = id; return nil }); err != nil {
		return err
	}
	rows, err = w.DB.Query(ctx, `select id from community where name like 'c%' and local order by id`)
	if err != nil {
		return err
	}
	communities, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return err
	}
	for n, id := range instances {
		var wanted []int32
		switch {
		case n > g.instances: // a reader
			wanted = communities
		case g.topics > 0:
			wanted = communities[n%topics:][:1]
		default:
			continue
		}
		fan, err := w.Fan(ctx, id, lemmy.FilledDomain(n), "fan")
		if err != nil {
			return err
		}
		for _, community := range wanted {
			if err := w.Follow(ctx, fan, community, false); err != nil {
				return err
			}
		}
	}
	if err := w.Exec(ctx, `update sent_activity set send_all_instances = false where send_all_instances`); err != nil {
		return err
	}
	return w.Exec(ctx, `
		insert into federation_queue_state (instance_id, last_successful_id, fail_count)
		select i.id, case when i.n > $1 then a.last when $2 then a.first + (a.last - a.first) * (i.n - 1) / $1 else a.first end, 0
		from (select id, row_number() over (order by domain) as n from instance where domain like 'i-%') i,
		  (select min(id) - 1 as first, max(id) as last from sent_activity) a`, g.instances, g.spread)
}

// newBacklog makes the tables of a backlog on a server that counts its statements.
func newBacklog(tb testing.TB, g backlog) *bench {
	tb.Helper()
	b := newBenchOn(tb, g.world(), map[string]string{"max_locks_per_transaction": "256", "shared_preload_libraries": "pg_stat_statements"})
	if _, err := b.DB.Exec(b.ctx, `create extension pg_stat_statements`); err != nil {
		tb.Fatal(err)
	}
	return b
}

// progress is how far a sender is.
type progress struct {
	at        time.Time
	cpu       time.Duration
	delivered int
	resident  float64 // bytes
	behind    int     // instances
	held      int
}

func (b *bench) progress(s *fleet.Sender) progress {
	b.tb.Helper()
	metrics, err := s.Metrics(b.ctx)
	if err != nil {
		b.tb.Fatal(err)
	}
	return progress{at: time.Now(), cpu: b.cpu([]*fleet.Sender{s}), delivered: b.Fedi.Ledger().Accepted(""),
		resident: metrics["process_resident_memory_bytes"], behind: int(metrics["fedsender_instances_behind"]), held: int(metrics["fedsender_leases"])}
}

// watch looks at a sender every so often until enough says so, and returns what it saw.
func (b *bench) watch(s *fleet.Sender, enough func(progress) bool) (seen []progress) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Minute)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond) // each look costs the sender 1 ms
	defer ticker.Stop()
	for {
		seen = append(seen, b.progress(s))
		if enough(seen[len(seen)-1]) {
			return seen
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			b.tb.Fatalf("the sender does not get on: %+v", seen[len(seen)-1])
		}
	}
}

// memory is what a sender had in use at the beginning, in the middle, at the end and at most.
func memory(seen []progress) string {
	mib := func(p progress) float64 { return p.resident / (1 << 20) }
	most := slices.MaxFunc(seen, func(a, b progress) int { return cmp.Compare(a.resident, b.resident) })
	return fmt.Sprintf("%.0f MiB resident at first, %.0f in the middle, %.0f at the end, at most %.0f",
		mib(seen[0]), mib(seen[len(seen)/2]), mib(seen[len(seen)-1]), mib(most))
}

// skipping is what it took to pass rows that no instance wants.
type skipping struct {
	took   time.Duration
	cpu    time.Duration // of the sender
	server time.Duration // of the statements
	seen   []progress
}

// skip has a sender pass the whole backlog.
func (b *bench) skip(g backlog) skipping {
	b.tb.Helper()
	senders, err := b.Launch(b.ctx, 1)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.countStatements()
	before := b.progress(senders[0])
	seen := b.watch(senders[0], func(p progress) bool { return p.held == len(b.world.domains()) && p.behind == 0 })
	last := seen[len(seen)-1]
	s := skipping{took: last.at.Sub(before.at), cpu: last.cpu - before.cpu, seen: seen}
	for _, busy := range b.countStatements().busy {
		s.server += time.Duration(busy * float64(time.Millisecond))
	}
	if err := senders[0].Stop(b.ctx); err != nil {
		b.tb.Fatal(err)
	}
	return s
}

// flow is what a sender does for instances that want something of their backlogs.
type flow struct {
	took      time.Duration
	delivered int
	passed    float64 // rows, by the mean instance
	cpu       time.Duration
	asked     int64 // statements
	seen      []progress
}

// passed is the mean cursor.
func (b *bench) passed() (mean float64) {
	b.tb.Helper()
	err := b.DB.QueryRow(b.ctx, `select avg(last_successful_id) from fedsender.source_queue_state`).Scan(&mean)
	if err != nil {
		b.tb.Fatal(err)
	}
	return mean
}

// flow has a sender deliver for a while, after so many deliveries for connections, keys and caches.
func (b *bench) flow(warm int, span time.Duration) flow {
	b.tb.Helper()
	senders, err := b.Launch(b.ctx, 1)
	if err != nil {
		b.tb.Fatal(err)
	}
	seen := b.watch(senders[0], func(p progress) bool { return p.delivered >= warm })
	before, passed := seen[len(seen)-1], b.passed()
	b.countStatements()
	seen = append(seen, b.watch(senders[0], func(p progress) bool { return p.at.Sub(before.at) >= span })...)
	last := seen[len(seen)-1]
	f := flow{took: last.at.Sub(before.at), delivered: last.delivered - before.delivered, passed: b.passed() - passed, cpu: last.cpu - before.cpu, seen: seen}
	for kind, calls := range b.countStatements().calls {
		if kind != "" { // those of the benchmark itself
			f.asked += calls
		}
	}
	if err := senders[0].Stop(b.ctx); err != nil {
		b.tb.Fatal(err)
	}
	return f
}
