package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// besides is a build whose RSA signatures are a constant, so that everything else is seen. Nobody can check them.
const besides = "norsa"

// curve is one thing that grows while all else stays.
type curve struct {
	name       string
	steps      []int
	deliveries int // of each step in each run
	runs       int
}

// busyHosts is how many hosts are sent to where that is not what grows: their connections stay open.
const busyHosts = 200

// instances grows what is known and held, while what is delivered stays the same.
func (c curve) instances(tb testing.TB) *results.Scenario {
	tb.Helper()
	var contenders []contender
	var last *stage
	for _, n := range c.steps {
		hosts := min(n, busyHosts)
		s := newStage(tb, fleet.Seeding{Instances: n, Followers: func(_, instance int) bool { return instance < hosts }})
		o := &ours{stage: s, tag: besides}
		contenders = append(contenders, contender{name: fmt.Sprint(n), x: float64(n), run: func() map[string]float64 {
			o.start("http", 1)
			defer o.stop()
			return s.measure(o, load{warm: 1 + c.deliveries/hosts/10, activities: c.deliveries / hosts, hosts: hosts})
		}})
		last = s
	}
	return last.rotated(c, contenders)
}

// targets grows for how many instances an activity is. Each host gets one delivery in each run, whatever the step, so that
// connections cost the same.
func (c curve) targets(tb testing.TB) *results.Scenario {
	tb.Helper()
	s, blocks := newAudience(tb, c.deliveries, c.steps)
	var contenders []contender
	for _, targets := range c.steps {
		o := &ours{stage: s, tag: besides}
		contenders = append(contenders, contender{name: fmt.Sprint(targets), x: float64(targets), run: func() map[string]float64 {
			o.start("http", 1)
			defer o.stop()
			return s.watch(o, c.deliveries, 0, func() { s.announce(blocks[targets], c.deliveries/targets) })
		}})
	}
	return s.rotated(c, contenders)
}

// newAudience makes a stage with actors that so many instances follow, on plain HTTP: for each size as many actors as it takes
// for each instance to follow one of them. It returns their ids by the size.
func newAudience(tb testing.TB, instances int, sizes []int) (*stage, map[int][]int64) {
	tb.Helper()
	s := newStage(tb, fleet.Seeding{Instances: instances, Followers: func(int, int) bool { return false }})
	audience := map[int][]int64{}
	for _, size := range sizes {
		audience[size] = s.follow(size)
	}
	return s, audience
}

// follow adds an actor for each so many instances, which follow it, and returns the actors' ids. They sign nothing.
func (s *stage) follow(size int) (actors []int64) {
	s.tb.Helper()
	err := s.DB.QueryRow(s.ctx, `
		with placed as (
			select id, replace(shared_inbox, 'https:', 'http:') as http, domain, (row_number() over (order by id) - 1) / $1::int as block from fedsender.instance),
		made as (
			insert into fedsender.actor (ap_id, key_id, private_key_pem)
			select 'https://home.example/audience/' || $1 || '/' || block, 'https://home.example/audience/' || $1 || '/' || block || '#main-key', ''
			from (select distinct block from placed) b returning id, ap_id),
		followed as (
			insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox)
			select made.id, 'https://' || domain || '/u/fan' || $1, placed.id, http, http
			from placed join made on made.ap_id = 'https://home.example/audience/' || $1 || '/' || block)
		select array_agg(id order by id) from made`, size).Scan(&actors)
	if err != nil {
		s.tb.Fatal(err)
	}
	return actors
}

// announce inserts activities, each for the followers of the next of the actors.
func (s *stage) announce(actors []int64, activities int) {
	s.tb.Helper()
	s.exec(insertActivities+`, ($4::bigint[])[1 + n % cardinality($4::bigint[]):1 + n % cardinality($4::bigint[])], '{}'
		from generate_series(1, $2) n`, s.home.Actors[httpRSA], activities, peerContent, actors)
}

// bodies grows the documents.
func (c curve) bodies(tb testing.TB) *results.Scenario {
	tb.Helper()
	s := newStage(tb, fleet.Seeding{Instances: busyHosts})
	var contenders []contender
	for _, size := range c.steps {
		o := &ours{stage: s, tag: besides, content: max(1, size-bodyFrame)}
		activities := max(2, min(c.deliveries, c.deliveries*(16<<10)/size)/busyHosts) // large ones take long enough
		contenders = append(contenders, contender{name: fmt.Sprint(size), x: float64(size), run: func() map[string]float64 {
			o.start("http", 1)
			defer o.stop()
			return s.measure(o, load{warm: 2, activities: activities, hosts: busyHosts})
		}})
	}
	return s.rotated(c, contenders)
}

// processes grows how many share the work.
func (c curve) processes(tb testing.TB) *results.Scenario {
	tb.Helper()
	s := newStage(tb, fleet.Seeding{Instances: busyHosts})
	var contenders []contender
	for _, n := range c.steps {
		o := &ours{stage: s, tag: besides}
		contenders = append(contenders, contender{name: fmt.Sprint(n), x: float64(n), run: func() map[string]float64 {
			o.start("http", n)
			defer o.stop()
			return s.measure(o, load{warm: 10, activities: c.deliveries / busyHosts, hosts: busyHosts})
		}})
	}
	return s.rotated(c, contenders)
}

// waiting grows the backlog that a process finds when it starts, and measures deliveries of it when the head has read all of it:
// that is done once, whatever is delivered meanwhile, and logged. The table only grows, so there is no turning of the order.
// Each process is killed, which leaves the instances at places that are further apart, and so dearer to read for, up to a point.
// Some are killed before the first one that is measured.
func (c curve) waiting(tb testing.TB) *results.Scenario {
	tb.Helper()
	s := newStage(tb, fleet.Seeding{Instances: busyHosts, Followers: func(int, int) bool { return false }})
	scenario := &results.Scenario{Name: c.name}
	filled := 0
	unmeasured := c.runs
	for _, rows := range c.steps {
		s.fill(filled, rows)
		filled = rows
		o := &ours{stage: s, tag: besides}
		for range c.runs + unmeasured {
			s.contender = fmt.Sprintf("%s-%d", c.name, rows)
			figures := s.begin(o, c.deliveries)
			tb.Logf("%s, %d: %s", c.name, rows, inWords(figures))
			if unmeasured > 0 {
				unmeasured--
			} else {
				cell := scenario.Cell(fmt.Sprint(rows))
				cell.X = float64(rows)
				cell.Add(figures)
			}
			if rows <= 2*c.deliveries*c.runs { // else the runs after would find too few
				s.fill(filled, filled+2*c.deliveries)
				filled += 2 * c.deliveries
			}
		}
	}
	return scenario
}

// fill inserts activities of 300 bytes, each for one of the instances, until there are so many.
func (s *stage) fill(from, to int) {
	s.tb.Helper()
	s.exec(`alter table fedsender.activity disable trigger ring`)
	s.exec(`
		insert into fedsender.activity (ap_id, actor_id, data, send_inboxes)
		select 'https://home.example/b/' || n, $1::bigint, ('{"id":"https://home.example/b/' || n || '","type":"Create","object":{"id":"https://home.example/o/' || n
		  || '","content":"' || repeat('x', 150) || '"}}')::json, array['http://i-' || to_char(n % $4, 'fm00000') || '.example/inbox']
		from generate_series($2::bigint + 1, $3::bigint) n`, s.home.Actors[httpRSA], from, to, len(s.home.Instances))
	s.exec(`alter table fedsender.activity enable trigger ring`)
}

// begin starts a process on what waits, reads the clocks when it has made a third of so many deliveries and read everything, and
// again when it has made so many more, and ends it. What waits must be much more than that.
func (s *stage) begin(o *ours, deliveries int) map[string]float64 {
	s.tb.Helper()
	s.reset(0, 0)
	o.running = nil
	o.prepare("http")
	running, err := s.Launch(s.ctx, 1)
	if err != nil {
		s.tb.Fatal(err)
	}
	o.running = running
	started := time.Now()
	s.wait(deliveries / 3)
	s.passed(o)
	first, err := s.receiver.State(s.ctx)
	if err != nil {
		s.tb.Fatal(err)
	}
	before, began := s.clocks(o), time.Now()
	s.tb.Logf("%s: %.1f s until all was read and %d were delivered, %.1f s of processor time", s.contender,
		began.Sub(started).Seconds(), first.Count, before.sender.Seconds())
	profiled := s.profile(s.contender, running[0])
	last := s.wait(int(first.Count) + deliveries)
	used, took, memory := s.clocks(o).minus(before), time.Since(began), o.memory()
	profiled()
	running[0].Kill()
	n := float64(max(1, last.Count-first.Count))
	return map[string]float64{
		results.Rate:        n / took.Seconds(),
		results.SenderCPU:   microseconds(used.sender) / n,
		results.PostgresCPU: microseconds(used.postgres) / n,
		results.ReceiverCPU: microseconds(used.receiver) / n,
		results.Resident:    memory[results.Resident],
	}
}

func (s *stage) rotated(c curve, contenders []contender) *results.Scenario {
	scenario := &results.Scenario{Name: c.name}
	s.rotate(scenario, c.runs, contenders)
	return scenario
}

// curves are those of the documentation.
var curves = []struct {
	curve
	measure func(curve, testing.TB) *results.Scenario
}{
	{curve{name: "instances", steps: []int{10, 100, 1000, 10_000, 30_000}, deliveries: 100_000}, curve.instances},
	{curve{name: "targets", steps: []int{1, 10, 100, 1000, 10_000, 30_000}, deliveries: 30_000}, curve.targets},
	{curve{name: "bodies", steps: []int{512, 1400, 4 << 10, 16 << 10, 64 << 10, 256 << 10}, deliveries: 100_000}, curve.bodies},
	{curve{name: "processes", steps: []int{1, 2, 4, 8}, deliveries: 100_000}, curve.processes},
	{curve{name: "backlog", steps: []int{100_000, 1_000_000, 10_000_000}, deliveries: 30_000}, curve.waiting},
}

func BenchmarkCurves(b *testing.B) {
	for _, c := range curves {
		b.Run(c.name, func(b *testing.B) {
			if !long() {
				b.Skip("takes minutes: FEDSENDER_BENCH=long")
			}
			c.runs = runs()
			note(b, c.measure(c.curve, b))
			b.ReportMetric(0, "ns/op")
		})
	}
}

func TestCurves_CanBeMeasured(t *testing.T) {
	t.Parallel()
	for _, c := range curves {
		t.Run(c.name, func(t *testing.T) {
			switch c.name {
			case "instances", "targets":
				c.steps, c.deliveries = []int{10, 50}, 100
			case "bodies":
				c.steps, c.deliveries = []int{1400, 64 << 10}, 2*busyHosts
			case "processes":
				c.steps, c.deliveries = []int{1, 2}, 2*busyHosts
			case "backlog":
				c.steps, c.deliveries = []int{20_000, 30_000}, 1500
			}
			c.runs = 1
			scenario := c.measure(c.curve, t)
			if len(scenario.Cells) != 2 {
				t.Fatalf("%d cells", len(scenario.Cells))
			}
			for i, cell := range scenario.Cells {
				if cpu, ok := cell.Median(results.SenderCPU); !ok || cpu <= 0 || cell.X != float64(c.steps[i]) {
					t.Errorf("%s: %v µs at %v", cell.Name, cpu, cell.X)
				}
			}
		})
	}
}
