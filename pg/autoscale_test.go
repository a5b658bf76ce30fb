package pg_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// rule is that of the SQL functions in Go, so that a day of many small steps takes no time. A test compares the two.
type rule struct {
	lowest, highest int
	minutes         [10]struct {
		at      int // minute
		need    float64
		desired int
	}
}

const drain = 600 // seconds, as autoscale_setting has it

func processNeed(delivered, arriving float64, waiting int64, instances int, busy float64) float64 {
	if busy < 0.7 || delivered <= 0 {
		return busy
	}
	return min(busy/delivered*(arriving+float64(waiting)/drain), max(busy, float64(instances)))
}

func desiredReplicas(previous int, settled bool, need, mostNeeded float64, lowest, highest int) int {
	down := float64(previous)
	if settled {
		down = min(down, max(math.Ceil(mostNeeded/0.6), math.Ceil(float64(previous)/2)))
	}
	return int(min(max(math.Ceil(need/0.8), down, float64(lowest)), float64(highest)))
}

// look is what the view says, and note_demand after it.
func (r *rule) look(second int, need float64) (desired int) {
	minute := second / 60
	previous, last, mostNeeded, lately := 0, -1, need, map[int]bool{}
	for _, m := range r.minutes {
		if m.desired == 0 || 60*m.at <= second-600 {
			continue
		}
		mostNeeded = max(mostNeeded, m.need)
		if 60*m.at > second-300 {
			lately[m.desired] = true
		}
		if m.at > last {
			last, previous = m.at, m.desired
		}
	}
	desired = desiredReplicas(previous, len(lately) == 1, need, mostNeeded, r.lowest, r.highest)
	m := &r.minutes[minute%len(r.minutes)]
	if m.at != minute {
		m.at, m.need, m.desired = minute, 0, 0
	}
	m.need, m.desired = max(m.need, need), max(m.desired, desired)
	return desired
}

func TestAutoscale_IsTheSameRuleInSQLAndInTheSimulation(t *testing.T) {
	conn := migrated(t)
	random := rand.New(rand.NewPCG(1, 2))
	batch := &pgx.Batch{}
	for range 100 {
		delivered, arriving, busy := random.Float64()*2000-100, random.Float64()*4000, random.Float64()
		waiting, instances := random.Int64N(3_000_000), random.IntN(20)
		batch.Queue(`select fedsender.process_need($1, $2, $3, $4, $5, $6)`, delivered, arriving, waiting, instances, busy, drain).QueryRow(func(row pgx.Row) error {
			var need float64
			require.NoError(t, row.Scan(&need))
			assert.InDelta(t, processNeed(delivered, arriving, waiting, instances, busy), need, 1e-6)
			return nil
		})
		previous, settled, need, needed := random.IntN(30), random.IntN(2) == 0, random.Float64()*30, random.Float64()*30
		batch.Queue(`select fedsender.desired_replicas($1, $2, $3, $4, 2, 25)`, previous, settled, need, needed).QueryRow(func(row pgx.Row) error {
			var desired int
			require.NoError(t, row.Scan(&desired))
			assert.Equal(t, desiredReplicas(previous, settled, need, needed, 2, 25), desired)
			return nil
		})
	}
	require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
}

func TestAutoscale_DesiresWhatTheRuleSays(t *testing.T) {
	conn := migrated(t)
	openLeaseSession(t, conn.Config(), "one")
	now := time.Now()
	say := func(p pg.Process) {
		p.ID = "one"
		require.NoError(t, pg.WriteProcess(t.Context(), conn, p))
	}
	desired := func() int { return value[int](t, conn, `select desired_replicas from fedsender.autoscale_at($1)`, now) }
	execute(t, conn, `update fedsender.autoscale_setting set max_processes = 9`)
	for _, c := range []struct {
		name string
		want int
		says pg.Process
	}{
		{"nothing to do", 1, pg.Process{}},
		{"half busy", 1, pg.Process{DeliveredPerSecond: 1000, ArrivingPerSecond: 1000, Busy: 0.5}},
		{"busier than it should be", 2, pg.Process{DeliveredPerSecond: 1800, ArrivingPerSecond: 1800, Busy: 0.9}},
		{"more comes than it can do", 4, pg.Process{DeliveredPerSecond: 2000, ArrivingPerSecond: 6000, Busy: 1, Waiting: 60_000, WaitingInstances: 500}},
		{"a backlog", 5, pg.Process{DeliveredPerSecond: 2000, ArrivingPerSecond: 1000, Busy: 1, Waiting: 600 * 6800, WaitingInstances: 500}},
		{"a backlog of two instances", 3, pg.Process{DeliveredPerSecond: 2000, ArrivingPerSecond: 1000, Busy: 1, Waiting: 600 * 6800, WaitingInstances: 2}},
		{"a backlog of slow receivers", 1, pg.Process{DeliveredPerSecond: 10, ArrivingPerSecond: 10, Busy: 0.1, Waiting: 600 * 6800, WaitingInstances: 500}},
		{"a backlog that is soon gone", 1, pg.Process{DeliveredPerSecond: 2000, ArrivingPerSecond: 500, Busy: 1, Waiting: 60_000, WaitingInstances: 500}},
		{"more than it may", 9, pg.Process{DeliveredPerSecond: 10, ArrivingPerSecond: 1000, Busy: 1, Waiting: 1_000_000_000_000, WaitingInstances: 30_000}},
		{"busy with other things", 2, pg.Process{Busy: 1, Waiting: 1000, WaitingInstances: 10}},
	} {
		say(c.says)
		assert.Equal(t, c.want, desired(), c.name)
	}
	execute(t, conn, `update fedsender.autoscale_setting set min_processes = 3`)
	say(pg.Process{})
	assert.Equal(t, 3, desired())
	execute(t, conn, `delete from fedsender.autoscale_setting`)
	assert.Equal(t, 1, desired(), "without the row of the settings")

	say(pg.Process{DeliveredPerSecond: 2000, ArrivingPerSecond: 6000, Busy: 1, Waiting: 60_000, WaitingInstances: 500})
	execute(t, conn, `select fedsender.note_demand($1)`, now)
	say(pg.Process{})
	for _, c := range []struct {
		minutes, want int
	}{{0, 4}, {9, 4}, {11, 1}} {
		assert.Equal(t, c.want, value[int](t, conn, `
			with p as (update fedsender.process set seen_at = $1 returning id) select desired_replicas from fedsender.autoscale_at($1)`, now.Add(time.Duration(c.minutes)*time.Minute)), "after %d minutes", c.minutes)
	}
}

func TestAutoscale_TellsWhatProcessesTellAndGuessesWhereNoneDoes(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, insertOne)
	execute(t, conn, insertOne)
	execute(t, conn, `update fedsender.queue_state set fail_count = 3, last_retry_at = now() where instance_id = 1`)
	row := func() string {
		return value[string](t, conn, `
			select concat_ws(' ', processes, deliveries_waiting, instances_waiting, delivered_per_s, arriving_per_s, rate_per_process, drain_seconds, busy_percent, need_percent, lag_seconds)
			from fedsender.autoscale`)
	}
	assert.Equal(t, "0 2 1 0 0 0 0 0 0 0", row(), "the one that fails does not count")

	openLeaseSession(t, conn.Config(), "one")
	leaving := openLeaseSession(t, conn.Config(), "leaving")
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "leaving", Waiting: 5, Busy: 1, DeliveredPerSecond: 10}))
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "dead", Waiting: 7, Busy: 1, DeliveredPerSecond: 10}))
	require.NoError(t, leaving.Leave(t.Context()))
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{
		ID: "one", Waiting: 1000, WaitingInstances: 3, LagSeconds: 12, DeliveredPerSecond: 100, ArrivingPerSecond: 90, Busy: 0.25,
	}))
	assert.Equal(t, "1 1000 3 100 90 400 10 25 25 12", row())
	execute(t, conn, `update fedsender.process set seen_at = now() - interval '1 minute'`)
	assert.Equal(t, "1 2 1 0 0 0 0 0 0 0", row(), "what it said is old")
}

func TestAutoscale_BoundsWhatProcessesTell(t *testing.T) {
	conn := migrated(t)
	openLeaseSession(t, conn.Config(), "one")
	openLeaseSession(t, conn.Config(), "two")
	for _, id := range []string{"one", "two"} {
		require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: id}))
	}
	for _, absurd := range []string{
		`waiting = 9223372036854775807, waiting_instances = 2147483647, arriving_per_s = 'infinity', delivered_per_s = 'infinity', lag_seconds = 'infinity', busy = 'infinity'`,
		`waiting = -9223372036854775808, waiting_instances = -2147483648, arriving_per_s = '-infinity', delivered_per_s = '-infinity', lag_seconds = -1, busy = -1`,
		`arriving_per_s = 'nan', delivered_per_s = 'nan', lag_seconds = 'nan', busy = 'nan'`,
	} {
		execute(t, conn, `update fedsender.process set seen_at = now(), `+absurd)
		assert.Equal(t, 2, value[int](t, conn, `select processes from fedsender.autoscale where desired_replicas between min_replicas and max_replicas`), absurd)
	}
}

func TestAutoscale_WantsALeaseForEachInstanceThatMayBeDeliveredTo(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `insert into fedsender.instance (domain) select n || '.example' from generate_series(1, 20) n`)
	execute(t, conn, `insert into fedsender.instance_control (instance_id, paused_until) values (1, 'infinity'), (2, 'infinity')`)
	for _, id := range []string{"one", "two"} {
		require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: id}))
		session, err := pg.OpenLeaseSession(t.Context(), conn.Config(), id, 6, quiet())
		require.NoError(t, err)
		defer session.Close()
	}
	assert.Equal(t, 4, value[int](t, conn, `select desired_replicas from fedsender.autoscale`), "20 instances, 6 each")
	openLeaseSession(t, conn.Config(), "three")
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "three"}))
	assert.Equal(t, 1, value[int](t, conn, `select desired_replicas from fedsender.autoscale`), "one may hold as many as there are")
}

// fleetDay is a day of a fleet whose size follows autoscale: a quiet night with a backlog of 2,000,000 activities, a busy
// day with a storm in which four of ten deliveries are for servers that fail, which then take all that they have missed.
type fleetDay struct {
	step     int // seconds
	ready    []int
	waiting  float64 // deliveries
	queue    []fleetWait
	missed   float64 // of those that fail
	arriving float64
	random   *rand.Rand
	change   int // second of the last one, up if positive
	hours    [24]fleetHour
	changes  int
	turned   int // changes of direction within ten minutes
	longest  float64
	direct   int
}

// fleetWait are the deliveries of one step that wait.
type fleetWait struct {
	second int
	count  float64
}

// take takes the oldest out of the queue and returns how old what is left is.
func (f *fleetDay) take(count float64, second int) (lag float64) {
	for len(f.queue) > 0 && f.queue[0].count <= count+1e-6 {
		count -= f.queue[0].count
		f.queue = f.queue[1:]
	}
	if len(f.queue) == 0 {
		return 0
	}
	f.queue[0].count -= count
	return float64(second - f.queue[0].second)
}

type fleetHour struct {
	arriving       float64
	fewest, most   int
	waiting, lag   float64
	changes, steps int
}

const (
	fleetRate  = 1500.0 // deliveries a second that a process can make
	startsIn   = 60     // seconds from the wish for a process until it delivers
	hour       = 3600
	fanOut     = 10 // deliveries of each activity of the backlog
	stormBegin = 15 * hour
	stormEnd   = stormBegin + 3*hour/2
	peak       = 9000.0
)

func newFleetDay(step int) *fleetDay {
	return &fleetDay{step: step, ready: []int{0}, random: rand.New(rand.NewPCG(3, 4)), change: -hour}
}

// pass is one step: what each process that is ready says afterwards.
func (f *fleetDay) pass(second int) (processes int, said pg.Process) {
	dt := float64(f.step)
	day := math.Max(0, math.Sin(math.Pi*(float64(second)/hour-6)/18))
	f.arriving = (100 + (peak-100)*math.Pow(day, 1.5)) * (0.8 + 0.4*f.random.Float64())
	if second/f.step == 2*hour/f.step {
		f.waiting += 2_000_000 * fanOut
		f.queue = append(f.queue, fleetWait{second, 2_000_000 * fanOut})
	}
	comes := f.arriving * dt
	switch {
	case second >= stormBegin && second < stormEnd:
		f.missed += 0.4 * comes
		comes *= 0.6
	case f.missed > 0: // back-offs end one after the other
		back := min(f.missed, f.missed*dt/900+dt)
		f.missed -= back
		f.waiting += back
		f.queue = append(f.queue, fleetWait{second, back})
	}
	for _, at := range f.ready {
		if at <= second {
			processes++
		}
	}
	can := float64(processes) * fleetRate * dt
	delivered := min(f.waiting+comes, can)
	f.waiting += comes - delivered
	f.queue = append(f.queue, fleetWait{second, comes})
	lag := f.take(delivered, second)
	n := float64(processes)
	instances := 0
	if f.waiting > 0 {
		instances = 500
	}
	return processes, pg.Process{
		DeliveredPerSecond: delivered / dt / n, ArrivingPerSecond: comes / dt / n, Busy: delivered / can,
		Waiting: int64(f.waiting / n), WaitingInstances: instances, LagSeconds: lag,
	}
}

// follow does what a horizontal autoscaler does: it starts processes, or stops the last ones.
func (f *fleetDay) follow(second, desired int, said pg.Process) {
	h := &f.hours[second/hour]
	before := len(f.ready)
	if before != desired {
		f.changes++
		h.changes++
		direction := 1
		if desired < before {
			direction = -1
		}
		if f.direct != 0 && direction != f.direct && second-f.change < 600 {
			f.turned++
		}
		f.change, f.direct = second, direction
	}
	for len(f.ready) < desired {
		f.ready = append(f.ready, second+startsIn)
	}
	f.ready = f.ready[:desired]
	if h.steps == 0 {
		h.fewest = desired
	}
	h.fewest, h.most = min(h.fewest, desired), max(h.most, desired)
	h.arriving += f.arriving
	h.steps++
	h.waiting, h.lag = max(h.waiting, f.waiting), max(h.lag, said.LagSeconds)
	f.longest = max(f.longest, said.LagSeconds)
}

// table is what docs/scale-out shows.
func (f *fleetDay) table() string {
	text := "\n| hour | deliveries asked for, per s | most waiting | processes | longest lag, s | changes |\n|---|---|---|---|---|---|\n"
	for i, h := range f.hours {
		text += fmt.Sprintf("| %02d | %.0f | %.0f | %d–%d | %.0f | %d |\n", i, h.arriving/float64(h.steps), h.waiting, h.fewest, h.most, h.lag, h.changes)
	}
	return text + fmt.Sprintf("%d changes, %d of them against one less than ten minutes old; longest lag %.0f s\n", f.changes, f.turned, f.longest)
}

// judge says what a day must be like.
func (f *fleetDay) judge(t *testing.T) {
	t.Helper()
	t.Log(f.table())
	assert.LessOrEqual(t, f.changes, 40)
	assert.Zero(t, f.turned, "it oscillates")
	assert.Less(t, f.longest, 1.5*drain, "longest lag")
	assert.Equal(t, 1, f.hours[1].most, "a quiet night")
	assert.LessOrEqual(t, f.hours[2].most, 30, "a backlog")
	assert.Equal(t, 1, f.hours[4].fewest, "a quiet night after it")
	assert.LessOrEqual(t, f.hours[15].most, f.hours[14].most, "a storm")
	assert.LessOrEqual(t, f.hours[23].fewest, 3, "in the evening")
}

func TestAutoscale_ADayInSmallSteps(t *testing.T) {
	f, r := newFleetDay(5), &rule{lowest: 1, highest: 40}
	for second := 0; second < 24*hour; second += f.step {
		n, said := f.pass(second)
		need := float64(n) * processNeed(said.DeliveredPerSecond, said.ArrivingPerSecond, said.Waiting, said.WaitingInstances, said.Busy)
		desired := r.look(second, math.Round(100*need)/100)
		if second%15 == 0 { // as often as Kubernetes looks
			f.follow(second, desired, said)
		}
	}
	f.judge(t)
}

func TestAutoscale_ADayByTheView(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `update fedsender.autoscale_setting set max_processes = 40`)
	f := newFleetDay(120)
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var sessions []*pgx.Conn
	config := conn.Config().Copy()
	for second := 0; second < 24*hour; second += f.step {
		n, said := f.pass(second)
		for len(sessions) < n {
			id := fmt.Sprintf("p%d", len(sessions))
			config.RuntimeParams["application_name"] = pg.LeasePrefix + id + ":0:0"
			session, err := pgx.ConnectConfig(t.Context(), config)
			require.NoError(t, err)
			defer session.Close(t.Context())
			sessions = append(sessions, session)
			require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: id}))
		}
		for len(sessions) > n {
			last := len(sessions) - 1
			require.NoError(t, sessions[last].Close(t.Context()))
			sessions = sessions[:last]
			execute(t, conn, `delete from fedsender.process where id = $1`, fmt.Sprintf("p%d", last))
		}
		at := begin.Add(time.Duration(second) * time.Second)
		batch := &pgx.Batch{}
		batch.Queue(`
			update fedsender.process
			set seen_at = $1, delivered_per_s = $2, arriving_per_s = $3, busy = $4, waiting = $5, waiting_instances = $6, lag_seconds = $7`,
			at, said.DeliveredPerSecond, said.ArrivingPerSecond, said.Busy, said.Waiting, said.WaitingInstances, said.LagSeconds)
		batch.Queue(`select fedsender.note_demand($1)`, at)
		var desired int
		batch.Queue(`select desired_replicas from fedsender.autoscale_at($1)`, at).QueryRow(func(row pgx.Row) error { return row.Scan(&desired) })
		require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
		f.follow(second, desired, said)
	}
	f.judge(t)
}
