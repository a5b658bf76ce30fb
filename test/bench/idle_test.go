package bench

import (
	"fmt"
	"math/rand/v2"
	"path"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

// latencies inserts single activities at random moments while three senders are idle, and returns how long each took
// from the commit to the header of its POST at the receiver.
func (b *bench) latencies(n int, gap time.Duration) []time.Duration {
	b.tb.Helper()
	committed, domains := make(map[string]time.Time, n), b.world.domains()
	for i := range n {
		time.Sleep(time.Duration(rand.Int64N(int64(gap))))
		id := fmt.Sprint("latency-", i)
		statement, args := b.world.insertion(id, fleet.SharedInbox(domains[rand.IntN(len(domains))]))
		_, err := b.DB.Exec(b.ctx, statement, args...)
		committed[id] = time.Now()
		if err != nil {
			b.tb.Fatal(err)
		}
	}
	if err := b.Fedi.Ledger().WaitFor(b.ctx, func() bool { return b.Fedi.Ledger().Accepted("") >= n }); err != nil {
		b.tb.Fatal(err)
	}
	var took []time.Duration
	for _, d := range b.Fedi.Ledger().Deliveries("") {
		took = append(took, d.Arrived.Sub(committed[path.Base(d.Activity)]))
	}
	return sorted(took)
}

func BenchmarkIdleLatency(b *testing.B) {
	n := 200
	if long() {
		n = 300
	}
	onEach(b, fleet.Seeding{Actors: 1, Instances: 200}, func(b *testing.B, w world) {
		bench := newBench(b, w)
		bench.start(3)
		bench.Fedi.Ledger().Forget()
		took := bench.latencies(n, 600*time.Millisecond)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(milliseconds(percentile(took, 0.5)), "p50-ms")
		b.ReportMetric(milliseconds(percentile(took, 0.99)), "p99-ms")
		b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
	})
}

func TestIdleLatency_CanBeMeasured(t *testing.T) {
	t.Parallel()
	onEachSmall(t, func(t *testing.T, w world) {
		bench := newBench(t, w)
		bench.start(3)
		// A POST may be there before this process learns that its row is committed.
		if took := bench.latencies(5, time.Millisecond); len(took) != 5 || took[0] < -time.Minute || took[4] > time.Minute {
			t.Errorf("measured %v", took)
		}
	})
}

// idleLoad is what idle senders cost in a span of time.
type idleLoad struct {
	queries float64 // a second, all senders together
	cpu     float64 // of one core, all senders together
}

func (b *bench) idleLoad(senders []*fleet.Sender, span time.Duration) idleLoad {
	b.tb.Helper()
	transactions := func() (n int64) {
		err := b.DB.QueryRow(b.ctx, `
			select xact_commit + xact_rollback from pg_stat_database where datname = current_database()`).Scan(&n)
		if err != nil {
			b.tb.Fatal(err)
		}
		return n
	}
	before, cpu, began := transactions(), b.cpu(senders), time.Now()
	time.Sleep(span)
	took := time.Since(began).Seconds()
	return idleLoad{
		queries: float64(transactions()-before-1) / took,
		cpu:     (b.cpu(senders) - cpu).Seconds() / took,
	}
}

func BenchmarkIdleLoad(b *testing.B) {
	bench := newBench(b, &native{seeding: fleet.Seeding{Actors: 1, Instances: 5000}})
	senders := bench.start(3)
	load := bench.idleLoad(senders, 30*time.Second)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(load.queries, "transactions/s")
	b.ReportMetric(1000*load.cpu, "cpu-ms/s")
}

func TestIdleLoad_CanBeMeasured(t *testing.T) {
	t.Parallel()
	bench := newBench(t, &native{seeding: fleet.Seeding{Actors: 1, Instances: 20}})
	if load := bench.idleLoad(bench.start(1), time.Second); load.queries < 0 {
		t.Errorf("measured %+v", load)
	}
}
