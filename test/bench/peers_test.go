package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// peersScenario is how much each contender is given in a run: enough for some seconds.
type peersScenario struct {
	hosts     int
	processes []int
	amounts   map[string]int // activities, by the name of the contender; those that are not there are left out
}

// peerContenders are all that do the same work: an activity to each host, with a signature for each.
func (s *stage) peerContenders(p peersScenario) []contender {
	type named struct {
		name  string
		every int // one signature in so many is checked
		subject
		alone bool // only in one process
	}
	subjects := []named{
		{"ours, libcrypto", checkEvery, &ours{stage: s, signer: "libcrypto"}, false},
		{"ours, crypto/rsa", checkEvery, &ours{stage: s, signer: "go"}, false},
		{"ours, Ed25519", checkEvery, &ours{stage: s, actor: httpsEdwards}, true},
		{"ours, besides RSA", 0, &ours{stage: s, tag: besides}, true},
		{"bare loop", checkEvery, s.bare(), false},
		{"River", checkEvery, s.river(), false},
	}
	if p.amounts["Fedify"] > 0 {
		subjects = append(subjects, named{"Fedify", checkEvery, s.fedify(), false})
	}
	var contenders []contender
	for _, scheme := range []string{"http", "https"} {
		for _, processes := range p.processes {
			for _, c := range subjects {
				amount := p.amounts[c.name]
				if amount == 0 || processes > 1 && c.alone {
					continue
				}
				contenders = append(contenders, contender{
					name: fmt.Sprintf("%s, %s, %d", c.name, scheme, processes),
					run: func() map[string]float64 {
						c.start(scheme, processes)
						defer c.stop()
						return s.measure(c.subject, load{warm: min(3, amount) + amount/4, activities: amount, hosts: p.hosts, every: c.every})
					},
				})
			}
		}
	}
	return contenders
}

func BenchmarkPeers(b *testing.B) {
	s := newStage(b, fleet.Seeding{Instances: busyHosts})
	p := peersScenario{
		hosts: busyHosts, processes: []int{1},
		amounts: map[string]int{
			"ours, libcrypto": 40, "ours, crypto/rsa": 20, "ours, Ed25519": 100, "ours, besides RSA": 100, "bare loop": 20, "River": 20,
		},
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
	s.rotate(scenario, runs(), s.peerContenders(p))
	note(b, scenario)
	b.ReportMetric(0, "ns/op")
}

func TestPeers_CanBeMeasured(t *testing.T) {
	t.Parallel()
	s := newStage(t, fleet.Seeding{Instances: 10})
	s.settle = 0
	scenario := &results.Scenario{Name: "peers"}
	s.rotate(scenario, 1, s.peerContenders(peersScenario{
		hosts: 10, processes: []int{1},
		amounts: map[string]int{
			"ours, libcrypto": 2, "ours, crypto/rsa": 2, "ours, Ed25519": 2, "ours, besides RSA": 2, "bare loop": 2, "River": 2},
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

func TestPeers_ProfilesAreOneFlagAway(t *testing.T) {
	s := newStage(t, fleet.Seeding{Instances: 2})
	s.settle = 0
	dir := t.TempDir()
	t.Setenv("FEDSENDER_BENCH_PROFILES", dir)
	p := peersScenario{hosts: 2, processes: []int{1}, amounts: map[string]int{"ours, crypto/rsa": 2}}
	s.rotate(&results.Scenario{Name: "peers"}, 1, s.peerContenders(p)[:1])
	for _, kind := range []string{"profile", "allocs", "mutex", "block"} {
		path := filepath.Join(dir, "peers-ours-crypto-rsa-http-1."+kind+".pprof")
		if file, err := os.Stat(path); err != nil || file.Size() == 0 {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
