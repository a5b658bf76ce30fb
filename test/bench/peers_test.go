package bench

import (
	"fmt"
	"os"
	"testing"

	"github.com/fedsender/fedsender/sender"
	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// peersScenario is how much each contender is given in a run: enough for some seconds.
type peersScenario struct {
	hosts     int
	processes []int
	warm      int
	amounts   map[string]int // activities, by the name of the contender
	runs      int
}

// peerContenders are all that do the same work: an activity to each host, with a signature for each.
func (s *stage) peerContenders(p peersScenario) []contender {
	subjects := []struct {
		name string
		subject
	}{
		{"ours, libcrypto", &ours{stage: s, signer: "libcrypto"}},
		{"ours, crypto/rsa", &ours{stage: s, signer: "go"}},
		{"ours, Ed25519", &ours{stage: s, actor: httpsEdwards}},
		{"bare loop", s.bare()},
		{"River", s.river()},
	}
	if p.amounts["Fedify"] > 0 {
		subjects = append(subjects, struct {
			name string
			subject
		}{"Fedify", s.fedify()})
	}
	var contenders []contender
	for _, scheme := range []string{"http", "https"} {
		for _, processes := range p.processes {
			for _, c := range subjects {
				if !s.can(c.name) {
					continue
				}
				contenders = append(contenders, contender{
					name: fmt.Sprintf("%s, %s, %d", c.name, scheme, processes),
					run: func() map[string]float64 {
						c.start(scheme, processes)
						defer c.stop()
						return s.measure(c, load{warm: p.warm, activities: p.amounts[c.name], hosts: p.hosts, every: checkEvery})
					},
				})
			}
		}
	}
	return contenders
}

// can says whether this build has what a contender needs.
func (s *stage) can(name string) bool {
	if name == "ours, libcrypto" || name == "ours, Ed25519" {
		_, err := sender.ParseConfig(map[string]string{"SENDER_SIGNER": "libcrypto"})
		return err == nil
	}
	return true
}

func BenchmarkPeers(b *testing.B) {
	s := newStage(b, fleet.Seeding{Instances: 200})
	p := peersScenario{
		hosts: 200, processes: []int{1}, warm: 3, runs: runs(),
		amounts: map[string]int{"ours, libcrypto": 20, "ours, crypto/rsa": 15, "ours, Ed25519": 40, "bare loop": 15, "River": 15},
	}
	if long() {
		p.processes = []int{1, 3}
	}
	if _, err := os.Stat("peers/fedify/node_modules"); err == nil {
		p.amounts["Fedify"] = 4
	} else {
		b.Log("Fedify is left out: make bench installs it")
	}
	scenario := &results.Scenario{Name: "peers"}
	s.rotate(scenario, p.runs, s.peerContenders(p))
	note(b, scenario)
	b.ReportMetric(0, "ns/op")
}

func TestPeers_CanBeMeasured(t *testing.T) {
	s := newStage(t, fleet.Seeding{Instances: 10})
	s.settle = 0
	scenario := &results.Scenario{Name: "peers"}
	s.rotate(scenario, 1, s.peerContenders(peersScenario{
		hosts: 10, processes: []int{1}, warm: 1,
		amounts: map[string]int{"ours, libcrypto": 2, "ours, crypto/rsa": 2, "ours, Ed25519": 2, "bare loop": 2, "River": 2},
	}))
	for _, cell := range scenario.Cells {
		for _, figure := range []string{results.Rate, results.SenderCPU, results.ReceiverCPU, results.PostgresCPU} {
			if value, ok := cell.Median(figure); !ok || value < 0 || figure != results.PostgresCPU && value == 0 {
				t.Errorf("%s: %s is %v", cell.Name, figure, value)
			}
		}
		if size, _ := cell.Median(results.BodyBytes); size < 1350 || size > 1500 {
			t.Errorf("%s: documents of %.0f bytes", cell.Name, size)
		}
	}
}
