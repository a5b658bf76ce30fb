package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

// latencies inserts single activities at random moments while three senders are idle, and returns how long each took
// from the commit to the header of its POST at the receiver.
func (b *bench) latencies(n int, gap time.Duration) []time.Duration {
	b.tb.Helper()
	committed := make(map[string]time.Time, n)
	for i := range n {
		time.Sleep(time.Duration(rand.Int64N(int64(gap))))
		id := fmt.Sprintf("https://%s/activities/%d", fleet.Home, i)
		_, err := b.DB.Exec(b.ctx, `
			insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
			values ($1, json_build_object('id', $1::text, 'type', 'Create'), $2, array[$3])`,
			id, b.world.Actors[0], fleet.SharedInbox(b.world.Instances[rand.IntN(len(b.world.Instances))]))
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
		took = append(took, d.Arrived.Sub(committed[d.Activity]))
	}
	return sorted(took)
}

func BenchmarkIdleLatency(b *testing.B) {
	n := 200
	if long() {
		n = 1000
	}
	bench := newBench(b, fleet.Seeding{Actors: 1, Instances: 200})
	bench.start(3)
	bench.Fedi.Ledger().Forget()
	took := bench.latencies(n, 600*time.Millisecond)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(percentile(took, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(percentile(took, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
}

func TestIdleLatency_CanBeMeasured(t *testing.T) {
	bench := newBench(t, fleet.Seeding{Actors: 1, Instances: 20})
	bench.start(3)
	if took := bench.latencies(5, time.Millisecond); len(took) != 5 {
		t.Errorf("measured %v", took)
	}
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
	bench := newBench(b, fleet.Seeding{Actors: 1, Instances: 5000})
	senders := bench.start(3)
	load := bench.idleLoad(senders, 30*time.Second)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(load.queries, "transactions/s")
	b.ReportMetric(1000*load.cpu, "cpu-ms/s")
}

func TestIdleLoad_CanBeMeasured(t *testing.T) {
	bench := newBench(t, fleet.Seeding{Actors: 1, Instances: 20})
	if load := bench.idleLoad(bench.start(1), time.Second); load.queries < 0 {
		t.Errorf("measured %+v", load)
	}
}
