package bench

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// Rows that nobody wants who is behind: what a row costs must not depend on the number of instances.
func BenchmarkSkip(b *testing.B) {
	rows := 100_000
	if long() {
		rows = 1_000_000
	}
	for _, line := range lemmy.Lines {
		for _, instances := range []int{1, 100, 1_000, 3_700, 10_000} {
			if line != lemmy.V019 && instances != 1_000 {
				continue // as with the other
			}
			b.Run(fmt.Sprintf("lemmy-%s/%d-instances", line, instances), func(b *testing.B) {
				g := backlog{line: line, instances: instances, rows: rows}
				s := newBacklog(b, g).skip(g)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(rows)/s.took.Seconds(), "rows/s")
				b.ReportMetric(float64(s.cpu.Microseconds())/float64(rows), "cpu-µs/row")
				b.ReportMetric(float64(s.server.Microseconds())/float64(rows), "server-µs/row")
				b.Log(memory(s.seen))
			})
		}
	}
}

func TestSkip_CanBeMeasured(t *testing.T) {
	t.Parallel()
	g := backlog{line: lemmy.V019, instances: 20, rows: 5_000}
	b := newBacklog(t, g)
	if s := b.skip(g); s.took <= 0 || s.server <= 0 {
		t.Errorf("measured %+v", s)
	}
	if n := b.Fedi.Ledger().Count(""); n > 0 {
		t.Errorf("%d were delivered that nobody wants", n)
	}
	b.settled() // they were passed and not left out
}

// A backlog of which each instance wants a part. One twentieth of 1,000 times 1,000,000 rows would be sent for hours, so
// this is a while of it.
func BenchmarkCatchup(b *testing.B) {
	rows, span := 100_000, 10*time.Second
	if long() {
		rows, span = 1_000_000, time.Minute
	}
	for _, g := range []struct {
		name string
		backlog
	}{
		{"all", backlog{topics: 1}},
		{"5-percent", backlog{topics: 20}},
		{"5-percent-spread", backlog{topics: 20, spread: true}},
	} {
		b.Run(g.name, func(b *testing.B) {
			g.line, g.instances, g.rows = lemmy.V019, 1_000, rows
			f := newBacklog(b, g.backlog).flow(5_000, span)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(f.delivered)/f.took.Seconds(), "deliveries/s")
			b.ReportMetric(f.passed/f.took.Seconds(), "rows/s")
			b.ReportMetric(float64(f.cpu.Microseconds())/float64(f.delivered), "cpu-µs/delivery")
			b.ReportMetric(float64(f.asked)/f.took.Seconds(), "statements/s")
			b.Log(memory(f.seen))
		})
	}
}

func TestCatchup_CanBeMeasured(t *testing.T) {
	t.Parallel()
	for _, spread := range []bool{false, true} {
		g := backlog{line: lemmy.V019, instances: 20, rows: 5_000, topics: 5, spread: spread}
		if f := newBacklog(t, g).flow(20, time.Second); f.delivered <= 0 {
			t.Errorf("measured %+v", f)
		}
	}
}

// away is how far away the far receiver is.
const away = 220 * time.Millisecond

// far returns how many activities a second an instance that is far away gets: from Lemmy's own sender, so many, and then
// from this one the rest of its backlog.
func (b *bench) far(g backlog, own int) (byLemmy, bySender float64) {
	b.tb.Helper()
	b.Fedi.SetDefault(fediverse.Always(fediverse.Slow(away, fediverse.OK)))
	ledger := b.Fedi.Ledger()
	rate := func(from, to int) float64 {
		all := ledger.Deliveries("")
		return float64(to-from) / all[to-1].Ended.Sub(all[from].Arrived).Seconds()
	}
	ctx, stop := context.WithCancel(b.ctx)
	client := b.Fedi.Client()
	defer client.CloseIdleConnections()
	sender := pool.New().WithErrors()
	sender.Go(func() error {
		return (&lemmy.Own{World: b.world.(*lemmys).home, Client: client}).Run(ctx)
	})
	err := ledger.WaitFor(b.ctx, func() bool { return ledger.Accepted("") >= own })
	stop()
	if err := sender.Wait(); err != nil {
		b.tb.Fatal(err)
	}
	if err != nil {
		b.tb.Fatal(err)
	}
	byLemmy = rate(0, ledger.Accepted(""))
	first := ledger.Accepted("")
	senders, err := b.Start(b.ctx, 1)
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := ledger.WaitFor(b.ctx, func() bool { return ledger.Accepted("") >= g.rows }); err != nil {
		b.tb.Fatal(err)
	}
	if err := senders[0].Stop(b.ctx); err != nil {
		b.tb.Fatal(err)
	}
	return byLemmy, rate(first, g.rows)
}

func BenchmarkFar(b *testing.B) {
	g := backlog{line: lemmy.V019, instances: 1, rows: 600, topics: 1}
	if long() {
		g.rows = 3_000
	}
	byLemmy, bySender := newBacklog(b, g).far(g, 40)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(byLemmy, "one-at-a-time/s")
	b.ReportMetric(bySender, "sender/s")
}

func TestFar_CanBeMeasured(t *testing.T) {
	t.Parallel()
	g := backlog{line: lemmy.V019, instances: 1, rows: 40, topics: 1}
	byLemmy, bySender := newBacklog(t, g).far(g, 4)
	if most := 1 / away.Seconds(); byLemmy <= 0 || byLemmy > most || bySender <= 0 || math.IsInf(bySender, 0) {
		t.Errorf("measured %.1f/s and %.1f/s", byLemmy, bySender)
	}
}
