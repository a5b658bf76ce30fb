package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

// replies are activities for one server each, made while one that goes to all servers is delivered.
type replies struct {
	took  []time.Duration // each from its commit to the header of its POST at the receiver
	storm time.Duration   // until all servers had the other one
}

// replies has an announce go to everybody and, until that has arrived, one reply after the other to a single server: to one
// that the announce has reached, or has not.
func (b *bench) replies(gap time.Duration) replies {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	ledger, home := b.Fedi.Ledger(), b.world.(*native).seeded
	ledger.Forget()
	began := time.Now()
	_, err := b.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		select id, json_build_object('id', id, 'type', 'Announce', 'object', id || '/object'), $1, array[$1::bigint]
		from (select 'https://home.example/announce/' || gen_random_uuid() as id) a`, home.Actors[0])
	if err != nil {
		b.tb.Fatal(err)
	}
	committed := map[string]time.Time{}
	for n := 0; ledger.Accepted("") < len(home.Instances)+n; n++ {
		id := fmt.Sprintf("https://%s/activities/reply-%d", fleet.Home, n)
		inbox := fleet.SharedInbox(home.Instances[rand.IntN(len(home.Instances))])
		_, err := b.DB.Exec(ctx, `
			insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
			values ($1, json_build_object('id', $1::text, 'type', 'Create'), $2, array[$3])`, id, home.Actors[1], inbox)
		if err != nil {
			b.tb.Fatal(err)
		}
		committed[id] = time.Now()
		time.Sleep(gap) // the load, not a wait
	}
	all := len(home.Instances) + len(committed)
	if err := ledger.WaitFor(ctx, func() bool { return ledger.Accepted("") >= all }); err != nil {
		b.tb.Fatal(err)
	}
	var r replies
	for _, d := range ledger.Deliveries("") {
		switch {
		case strings.Contains(d.Activity, "/announce/"):
			r.storm = max(r.storm, d.Arrived.Sub(began))
		default:
			r.took = append(r.took, d.Arrived.Sub(committed[d.Activity]))
		}
	}
	sorted(r.took)
	return r
}

// BenchmarkReply is how long a reply to one server takes while an announce goes to all.
func BenchmarkReply(b *testing.B) {
	instances := 3000
	if long() {
		instances = 30_000
	}
	bench := newBench(b, &native{seeding: fleet.Seeding{Actors: 2, Instances: instances}})
	bench.start(1)
	r := bench.replies(20 * time.Millisecond)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(r.took)), "replies")
	b.ReportMetric(milliseconds(percentile(r.took, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(percentile(r.took, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(r.took[len(r.took)-1]), "max-ms")
	b.ReportMetric(r.storm.Seconds(), "storm-s")
}

func TestReply_CanBeMeasured(t *testing.T) {
	t.Parallel()
	bench := newBench(t, &native{seeding: fleet.Seeding{Actors: 2, Instances: 50}})
	bench.start(1)
	if r := bench.replies(time.Millisecond); len(r.took) == 0 || r.storm <= 0 {
		t.Errorf("measured %+v", r)
	}
}
