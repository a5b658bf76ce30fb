package bench

import (
	"context"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

// storm is what it took to deliver activities to all instances.
type storm struct {
	deliveries int
	took       time.Duration
	cpu        time.Duration // of the senders
}

// storm inserts activities for everybody into the native tables at once and waits until they have arrived.
func (b *bench) storm(senders []*fleet.Sender, activities int) storm {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	b.Fedi.Ledger().Forget()
	home := b.world.(*native).seeded
	before, began := b.cpu(senders), time.Now()
	_, err := b.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		select id, json_build_object('id', id, 'type', 'Create', 'object', json_build_object('id', id || '/note', 'content', repeat('x', 1200))),
		  $1, array[$1::bigint]
		from (select 'https://home.example/' || gen_random_uuid() as id from generate_series(1, $2)) a`, home.Actors[0], activities)
	if err != nil {
		b.tb.Fatal(err)
	}
	n := activities * len(home.Instances)
	if err := b.Fedi.Ledger().WaitFor(ctx, func() bool { return b.Fedi.Ledger().Accepted("") >= n }); err != nil {
		b.tb.Fatal(err)
	}
	return storm{deliveries: n, took: time.Since(began), cpu: b.cpu(senders) - before}
}

func BenchmarkDelivery(b *testing.B) {
	for _, senders := range []int{1, 3} {
		b.Run(map[int]string{1: "OneSender", 3: "ThreeSenders"}[senders], func(b *testing.B) {
			bench := newBench(b, &native{seeding: fleet.Seeding{Actors: 1, Instances: 200}})
			running := bench.start(senders)
			bench.storm(running, 10) // connections, keys and caches
			s := bench.storm(running, 60)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(s.deliveries)/s.took.Seconds(), "deliveries/s")
			b.ReportMetric(float64(s.cpu.Microseconds())/float64(s.deliveries), "cpu-µs/delivery")
		})
	}
}

func TestDelivery_CanBeMeasured(t *testing.T) {
	t.Parallel()
	bench := newBench(t, &native{seeding: fleet.Seeding{Actors: 1, Instances: 20}})
	if s := bench.storm(bench.start(1), 2); s.deliveries != 40 {
		t.Errorf("measured %+v", s)
	}
}
