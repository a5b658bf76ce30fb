package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// replies inserts activities for one host each, at random moments, and returns how long each took from its commit to the
// header of its POST at the receiver, as figures.
func (s *stage) replies(n int, gap time.Duration) map[string]float64 {
	s.tb.Helper()
	committed := make(map[string]time.Time, n)
	for i := range n {
		s.pause(time.Duration(rand.Int64N(int64(gap)))) // #nosec G404: a measurement
		path := fmt.Sprintf("/timed/%d", i)
		host := s.home.Instances[rand.IntN(len(s.home.Instances))] // #nosec G404: a measurement
		s.exec(insertActivities+`, '{}', array[$4] from generate_series(1, $2) n`, s.home.Actors[httpRSA], 1, 100, "http://"+host+path)
		committed[path] = time.Now()
	}
	var took []time.Duration
	err := fleet.Until(s.ctx, "all replies have arrived", func() (bool, error) {
		times, err := s.receiver.Timed(s.ctx)
		took = took[:0]
		for path, at := range times {
			took = append(took, at.Sub(committed[path]))
		}
		return len(took) == n, err
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	took = sorted(took)
	return map[string]float64{
		results.P50: milliseconds(percentile(took, 0.5)),
		results.P99: milliseconds(percentile(took, 0.99)),
		results.Max: milliseconds(took[len(took)-1]),
	}
}

// latency measures replies while nothing else is delivered, and while an activity goes to everybody.
func latency(tb testing.TB, instances, n int, gap time.Duration, times int) *results.Scenario {
	tb.Helper()
	s, audience := newAudience(tb, instances, []int{instances})
	o := &ours{stage: s}
	o.start("http", 1)
	scenario := &results.Scenario{Name: "latency"}
	s.rotate(scenario, times, []contender{
		{name: "idle", run: func() map[string]float64 {
			s.reset(0, 0)
			figures := s.replies(n, 4*gap)
			s.pause(s.settle)
			return figures
		}},
		{name: "storm", run: func() map[string]float64 {
			s.reset(0, 0)
			s.announce(audience[instances], 1)
			figures := s.replies(n, gap)
			during, err := s.receiver.State(s.ctx)
			if err != nil {
				s.tb.Fatal(err)
			}
			all := instances + n
			s.wait(all)
			s.pause(s.settle)
			figures[results.Left] = float64(all-int(during.Count)) / float64(all)
			return figures
		}},
	})
	o.stop()
	return scenario
}

func BenchmarkLatency(b *testing.B) {
	if !long() {
		b.Skip("takes minutes: FEDSENDER_BENCH=long")
	}
	// So many that the 99th percentile is not the slowest of all, within the seconds that a storm takes.
	note(b, latency(b, 30_000, 500, 16*time.Millisecond, runs()))
	b.ReportMetric(0, "ns/op")
}

func TestLatency_CanBeMeasured(t *testing.T) {
	t.Parallel()
	scenario := latency(t, 100, 5, time.Millisecond, 1)
	for _, name := range []string{"idle", "storm"} {
		if p99, ok := scenario.Find(name).Median(results.P99); !ok || p99 <= 0 {
			t.Errorf("%s: %v ms", name, p99)
		}
	}
}
