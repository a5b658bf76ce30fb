package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// farHost is one that answers so late.
type farHost struct {
	delay    time.Duration
	windowed int // activities for it in a run
	oneByOne int
}

// distance measures what one instance gets when its host is near and far, with the window that adapts and with one
// delivery at a time.
func distance(tb testing.TB, hosts []farHost, times int) *results.Scenario {
	tb.Helper()
	s := newStage(tb, fleet.Seeding{Instances: 1})
	o := &ours{stage: s}
	var contenders []contender
	for _, host := range hosts {
		for _, single := range []bool{false, true} {
			n, name, most := host.windowed, "window", "null::int"
			if single {
				n, name, most = host.oneByOne, "one at a time", "1"
			}
			contenders = append(contenders, contender{
				name: fmt.Sprintf("%s, %d ms", name, host.delay.Milliseconds()), x: milliseconds(host.delay),
				run: func() map[string]float64 {
					s.exec(`
						insert into fedsender.instance_control (instance_id, max_in_flight)
						select id, ` + most + ` from fedsender.instance
						on conflict (instance_id) do update set max_in_flight = excluded.max_in_flight`)
					o.start("http", 1)
					defer o.stop()
					s.reset(checkEvery, host.delay)
					began := time.Now()
					o.send(n, 1)
					state := s.wait(n)
					return map[string]float64{results.Rate: float64(n) / state.Last.Sub(began).Seconds()}
				},
			})
		}
	}
	scenario := &results.Scenario{Name: "distance"}
	s.rotate(scenario, times, contenders)
	return scenario
}

func BenchmarkDistance(b *testing.B) {
	if !long() {
		b.Skip("takes a minute: FEDSENDER_BENCH=long")
	}
	note(b, distance(b, []farHost{
		{delay: 0, windowed: 5000, oneByOne: 2000},
		{delay: 20 * time.Millisecond, windowed: 1500, oneByOne: 80},
		{delay: 220 * time.Millisecond, windowed: 250, oneByOne: 10},
	}, runs()))
	b.ReportMetric(0, "ns/op")
}

func TestDistance_CanBeMeasured(t *testing.T) {
	t.Parallel()
	scenario := distance(t, []farHost{{delay: 5 * time.Millisecond, windowed: 20, oneByOne: 4}}, 1)
	if rate, ok := scenario.Find("one at a time, 5 ms").Median(results.Rate); !ok || rate <= 0 || rate > 200 {
		t.Errorf("%v/s one at a time, of a host that is 5 ms away", rate)
	}
}
