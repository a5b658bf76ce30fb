package bench

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/lemmy"
)

// beginning is what a large server's tables cost a sender that starts.
type beginning struct {
	held     time.Duration // until it holds all instances
	cpu      time.Duration
	resident float64 // bytes
	heap     float64
}

func (b *bench) begin() beginning {
	b.tb.Helper()
	began := time.Now()
	senders, err := b.Launch(b.ctx, 1)
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := b.WaitHeld(b.ctx, 1); err != nil {
		b.tb.Fatal(err)
	}
	held := time.Since(began)
	metrics, err := senders[0].Metrics(b.ctx)
	if err != nil {
		b.tb.Fatal(err)
	}
	g := beginning{held: held, cpu: b.cpu(senders), resident: metrics["process_resident_memory_bytes"], heap: metrics["go_memstats_heap_alloc_bytes"]}
	if err := senders[0].Stop(b.ctx); err != nil {
		b.tb.Fatal(err)
	}
	return g
}

func BenchmarkStart(b *testing.B) {
	for _, line := range lemmy.Lines {
		b.Run("lemmy-"+string(line), func(b *testing.B) {
			w := &lemmys{line: line, size: big()}
			bench := newBench(b, w)
			_ = bench.begin() // reads the tables into the server's memory
			g := bench.begin()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(w.took.Seconds(), "fill-s")
			b.ReportMetric(milliseconds(g.held), "held-ms")
			b.ReportMetric(milliseconds(g.cpu), "cpu-ms")
			b.ReportMetric(g.resident/(1<<20), "resident-MiB")
			b.ReportMetric(g.heap/(1<<20), "heap-MiB")
		})
	}
}

func TestStart_CanBeMeasured(t *testing.T) {
	t.Parallel()
	b := newBench(t, &lemmys{line: lemmy.V10, size: lemmy.Size{Instances: 20, Communities: 5, Followers: 50, Activities: 200}})
	if g := b.begin(); g.held <= 0 || g.resident <= 0 {
		t.Errorf("measured %+v", g)
	}
}
