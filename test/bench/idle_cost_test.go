package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// skips measures what an activity costs that no held instance wants, and what memory idle instances take, with so many
// instances held.
func skips(tb testing.TB, instances []int, activities, times int) *results.Scenario {
	tb.Helper()
	var contenders []contender
	var last *stage
	for _, n := range instances {
		s := newStage(tb, fleet.Seeding{Instances: n, Followers: func(int, int) bool { return false }})
		o := &ours{stage: s}
		contenders = append(contenders, contender{name: fmt.Sprint(n), x: float64(n), run: func() map[string]float64 {
			o.start("http", 1)
			defer o.stop()
			s.pause(s.settle)
			memory, before := o.memory(), s.clocks(o)
			s.exec(insertActivities+`, '{}', '{}' from generate_series(1, $2) n`, s.home.Actors[httpRSA], activities, peerContent)
			s.passed(o)
			s.pause(s.settle)
			used := s.clocks(o).minus(before)
			return map[string]float64{
				results.SenderCPU:   microseconds(used.sender) / float64(activities),
				results.Resident:    memory[results.Resident],
				results.PerInstance: memory[results.Resident] * 1024 / float64(n),
			}
		}})
		last = s
	}
	scenario := &results.Scenario{Name: "skips"}
	last.rotate(scenario, times, contenders)
	return scenario
}

// passed waits until the process has read everything. It asks seldom: to answer costs the process a millisecond or two.
func (s *stage) passed(o *ours) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 3*time.Minute)
	defer cancel()
	var newest float64
	if err := s.DB.QueryRow(ctx, `select max(id) from fedsender.activity`).Scan(&newest); err != nil {
		s.tb.Fatal(err)
	}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		metrics, err := o.running[0].Metrics(ctx)
		if err != nil {
			s.tb.Fatal(err)
		}
		if metrics["fedsender_horizon_id"] >= newest {
			return
		}
		<-ticker.C
	}
}

func BenchmarkSkips(b *testing.B) {
	if !long() {
		b.Skip("takes minutes: FEDSENDER_BENCH=long")
	}
	note(b, skips(b, []int{10, 30_000}, 100_000, runs()))
	b.ReportMetric(0, "ns/op")
}

func TestSkips_CanBeMeasured(t *testing.T) {
	t.Parallel()
	scenario := skips(t, []int{10, 100}, 200, 1)
	for _, name := range []string{"10", "100"} {
		if cpu, ok := scenario.Find(name).Median(results.SenderCPU); !ok || cpu <= 0 {
			t.Errorf("%s instances: %v µs", name, cpu)
		}
	}
}
