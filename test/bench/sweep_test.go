package bench

import (
	"fmt"
	"os"
	"testing"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// BenchmarkSweep looks for the settings that are best for the peers with queues, on this machine.
func BenchmarkSweep(b *testing.B) {
	if !long() {
		b.Skip("takes minutes: FEDSENDER_BENCH=long")
	}
	s := newStage(b, fleet.Seeding{Instances: 200})
	scenario := &results.Scenario{Name: "sweep"}
	var contenders []contender
	add := func(name string, p *peer, activities int) {
		contenders = append(contenders, contender{name: name, run: func() map[string]float64 {
			p.start("http", 1)
			defer p.stop()
			return s.measure(p, load{warm: 2, activities: activities, hosts: 200, every: checkEvery})
		}})
	}
	for _, workers := range []int{50, 200, 1000} {
		for _, cooldown := range []string{"1ms", "20ms", "100ms"} {
			p := s.river()
			p.workers, p.env = workers, []string{"PEER_FETCH_COOLDOWN=" + cooldown}
			add(fmt.Sprintf("River, %d workers, %s", workers, cooldown), p, 15)
		}
	}
	if _, err := os.Stat("peers/fedify/node_modules"); err == nil {
		for _, workers := range []int{10, 50, 200} {
			p := s.fedify()
			p.workers = workers
			add(fmt.Sprintf("Fedify, %d workers", workers), p, 4)
		}
	}
	s.rotate(scenario, 3, contenders)
	for _, cell := range scenario.Cells {
		rate, _ := cell.Median(results.Rate)
		cpu, _ := cell.Median(results.SenderCPU)
		b.Logf("%s: %.0f/s, %.0f µs", cell.Name, rate, cpu)
	}
}
