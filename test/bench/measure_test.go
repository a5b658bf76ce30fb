package bench

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/results"
)

// runs is how often everything is measured: medians of so many are published.
func runs() int {
	if long() {
		return 5
	}
	return 1
}

// load is how much a subject is given in one run.
type load struct {
	warm       int // activities before the clocks are read: connections, keys, caches, compilers
	activities int
	hosts      int
	every      int // one signature in so many is checked; 0: none
}

// measure gives a running subject its load and reads the clocks before and after.
func (s *stage) measure(sub subject, l load) map[string]float64 {
	s.tb.Helper()
	if l.warm > 0 {
		s.reset(l.every, 0)
		sub.send(l.warm, l.hosts)
		s.wait(l.warm * l.hosts)
		s.pause(s.settle / 4)
	}
	count := l.activities * l.hosts
	return s.watch(sub, count, l.every, func() { sub.send(l.activities, l.hosts) })
}

// watch does something that makes a subject deliver, and reads the clocks before it and when all of it has arrived.
func (s *stage) watch(sub subject, count, every int, do func()) map[string]float64 {
	s.tb.Helper()
	s.reset(every, 0)
	memory, before, began := sub.memory(), s.clocks(sub), time.Now()
	do()
	profiled := func() {}
	if o, is := sub.(*ours); is {
		profiled = s.profile(s.contender, o.running[0])
	}
	state := s.wait(count)
	s.pause(s.settle)
	profiled()
	used, after := s.clocks(sub).minus(before), sub.memory()
	if extra, err := s.receiver.State(s.ctx); err != nil || extra.Count != int64(count) {
		s.tb.Logf("%d arrived for %d: %v", extra.Count, count, err)
	}
	n := float64(count)
	figures := map[string]float64{
		results.Rate:        n / state.Last.Sub(began).Seconds(),
		results.SenderCPU:   microseconds(used.sender) / n,
		results.PostgresCPU: microseconds(used.postgres) / n,
		results.ReceiverCPU: microseconds(used.receiver) / n,
		results.BodyBytes:   float64(state.Bytes) / n,
	}
	if after != nil {
		figures[results.Allocations] = (after[results.Allocations] - memory[results.Allocations]) / n
		figures[results.AllocBytes] = (after[results.AllocBytes] - memory[results.AllocBytes]) / n
		figures[results.GCShare] = (after[results.GCShare] - memory[results.GCShare]) / used.sender.Seconds()
		figures[results.Resident] = after[results.Resident]
	}
	return figures
}

func (s *stage) pause(d time.Duration) { time.Sleep(d) }

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// contender is a cell of a scenario: it is measured once in each run, in an order that changes from run to run.
type contender struct {
	name string
	x    float64
	run  func() map[string]float64
}

// rotate measures all contenders so many times and notes what they have shown. FEDSENDER_BENCH_ONLY is an expression for the
// names of those that are wanted, "scenario-contender".
func (b *bench) rotate(scenario *results.Scenario, times int, contenders []contender) {
	b.tb.Helper()
	only, err := regexp.Compile(os.Getenv("FEDSENDER_BENCH_ONLY"))
	if err != nil {
		b.tb.Fatalf("FEDSENDER_BENCH_ONLY: %v", err)
	}
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !only.MatchString(scenario.Name + "-" + c.name) })
	for _, c := range contenders { // in the order that they are shown in
		scenario.Cell(c.name).X = c.x
	}
	for run := range times {
		for i := range contenders {
			c := contenders[(run+i)%len(contenders)]
			b.contender = scenario.Name + "-" + c.name
			figures := c.run()
			scenario.Cell(c.name).Add(figures)
			b.tb.Logf("%s, %s: %s", scenario.Name, c.name, inWords(figures))
		}
	}
}

// note writes what was measured into the file that FEDSENDER_BENCH_RESULTS names, beside what it has.
func note(tb testing.TB, measured *results.Scenario) {
	tb.Helper()
	path := os.Getenv("FEDSENDER_BENCH_RESULTS")
	if path == "" {
		return
	}
	all, err := results.Read(path)
	if err != nil {
		tb.Fatal(err)
	}
	all.Describe(versions())
	for _, cell := range measured.Cells {
		*all.Scenario(measured.Name).Cell(cell.Name) = *cell
	}
	if err := all.Write(path); err != nil {
		tb.Fatal(err)
	}
}
