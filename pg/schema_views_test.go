package pg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestViews_StateIsTheFirstThatHolds(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `
		insert into fedsender.activity (ap_id, data, actor_id, published_at)
		select g, '{}', 1, now() - interval '10 minutes' * (11 - g) from generate_series(1, 10) g;
		insert into fedsender.activity (ap_id, data, actor_id) values (11, '{}', 1)`)
	const (
		queue  = `update fedsender.queue_state set (last_successful_id, fail_count, last_retry_at) = (%s) where instance_id = $1`
		health = `update fedsender.instance_health set (not_before, gone, last_success_at) = (%s) where instance_id = $1`
	)
	old := `update fedsender.instance set created_at = now() - interval '4 days' where id = $1`
	pause := `insert into fedsender.instance_control (instance_id, paused_until) values ($1, now() + interval '1 hour')`
	block := `insert into fedsender.domain_block (domain) select upper(domain) from fedsender.instance where id = $1`
	for i, c := range []struct {
		name, state string
		lag         string
		retry       string // next_retry_at less now
		sql         []string
	}{
		{"up to date", "ok", "0", "", []string{fmt.Sprintf(queue, `11, 0, null`)}},
		{"cursor above all", "ok", "0", "", []string{fmt.Sprintf(queue, `99, 0, null`)}},
		{"not written yet", "ok", "0", "", []string{fmt.Sprintf(queue, `10, 0, null`)}},
		{"behind", "lagging", "20 min", "", []string{fmt.Sprintf(queue, `8, 0, null`)}},
		{"from the start", "lagging", "100 min", "", []string{fmt.Sprintf(queue, `0, 0, null`)}},
		{"told to wait", "lagging", "10 min", "1 min", []string{fmt.Sprintf(queue, `9, 0, null`), fmt.Sprintf(health, `now() + interval '1 min', false, null`)}},
		{"failing once", "failing", "10 min", "1 s", []string{fmt.Sprintf(queue, `9, 1, now()`)}},
		{"failing eleven times", "failing", "10 min", "9.313225746154785 s", []string{fmt.Sprintf(queue, `9, 11, now()`)}},
		{"failing for ever", "failing", "10 min", "1 day", []string{fmt.Sprintf(queue, `9, 1000000, now()`)}},
		{"failing and told to wait", "failing", "10 min", "1 hour", []string{fmt.Sprintf(queue, `9, 1, now()`), fmt.Sprintf(health, `now() + interval '1 hour', false, null`)}},
		{"quiet for long", "ok", "0", "", []string{fmt.Sprintf(queue, `10, 0, null`), old}},
		{"failing for long", "dead", "10 min", "1 day", []string{fmt.Sprintf(queue, `9, 20, now()`), old}},
		{"a few failures after a long silence", "failing", "10 min", "55.5 s", []string{fmt.Sprintf(queue, `9, 19, now()`), old}},
		{"failing for long but seen", "failing", "10 min", "69.4 s", []string{fmt.Sprintf(queue, `9, 20, now()`), old, `update fedsender.instance set last_seen_at = now() where id = $1`}},
		{"failing for long but delivered to", "failing", "10 min", "69.4 s", []string{fmt.Sprintf(queue, `9, 20, now()`), old, fmt.Sprintf(health, `null, false, now() - interval '1 minute'`)}},
		{"gone", "dead", "10 min", "1 day", []string{fmt.Sprintf(queue, `9, 0, now()`), fmt.Sprintf(health, `null, true, now()`)}},
		{"paused", "paused", "10 min", "1 hour", []string{fmt.Sprintf(queue, `9, 3, now()`), old, pause}},
		{"was paused", "lagging", "10 min", "", []string{fmt.Sprintf(queue, `9, 0, null`), `insert into fedsender.instance_control (instance_id, paused_until) values ($1, now())`}},
		{"blocked", "blocked", "10 min", "", []string{fmt.Sprintf(queue, `9, 3, now()`), old, pause, block}},
		{"was blocked", "ok", "0", "", []string{fmt.Sprintf(queue, `11, 0, null`), block, `update fedsender.domain_block d set expires_at = now() from fedsender.instance i where i.id = $1 and lower(d.domain) = i.domain`}},
		{"without a cursor", "ok", "0", "", []string{`delete from fedsender.queue_state where instance_id = $1`}},
		{"delivered to since it failed", "lagging", "10 min", "", []string{fmt.Sprintf(queue, `9, 13, now() - interval '1 minute'`), fmt.Sprintf(health, `null, false, now()`)}},
		{"delivered to since it failed, and told to try", "ok", "0", "", []string{fmt.Sprintf(queue, `11, 3, null`), fmt.Sprintf(health, `null, false, now()`),
			`update fedsender.instance_health set last_error_at = now() - interval '1 minute' where instance_id = $1`}},
	} {
		id := i + 1
		execute(t, conn, `insert into fedsender.instance (domain) values ('n' || $1::int || '.example')`, id)
		for _, sql := range c.sql {
			execute(t, conn, sql, id)
		}
		assert.Equal(t, c.state, value[string](t, conn, `select state from fedsender.instance_status where instance_id = $1`, id), c.name)
		off := value[float64](t, conn, `select abs(extract(epoch from lag - $2::text::interval))::float8 from fedsender.instance_status where instance_id = $1`, id, c.lag)
		assert.Less(t, off, 60.0, "lag of %s", c.name)
		retry := value[*float64](t, conn, `select abs(extract(epoch from next_retry_at - now() - nullif($2::text, '')::interval))::float8 from fedsender.instance_status where instance_id = $1`, id, c.retry)
		if c.retry == "" {
			assert.True(t, value[bool](t, conn, `select next_retry_at is null from fedsender.instance_status where instance_id = $1`, id), c.name)
		} else if assert.NotNil(t, retry, c.name) {
			assert.Less(t, *retry, 5.0, "next retry of %s", c.name)
		}
	}

	summary, err := pg.Summary(t.Context(), conn)
	require.NoError(t, err)
	assert.EqualValues(t, 23, summary.Instances)
	assert.Equal(t, summary.Instances, summary.OK+summary.Lagging+summary.Failing+summary.Paused+summary.Dead+summary.Blocked)
	assert.EqualValues(t, 2, summary.Dead)
	assert.EqualValues(t, 11, summary.Activities)
	assert.InDelta(t, 6000, summary.OldestLagSeconds, 60)
	assert.EqualValues(t, 1, summary.Throttled)
	assert.Len(t, column[string](t, conn, `select domain from fedsender.retry_schedule`), 10)

	execute(t, conn, `
		insert into fedsender.instance_health (instance_id, not_before) select id, now() + interval '1 hour' from fedsender.instance
		on conflict (instance_id) do update set not_before = excluded.not_before`)
	summary, err = pg.Summary(t.Context(), conn)
	require.NoError(t, err)
	assert.Zero(t, summary.OldestLagSeconds, "all asked for a pause")
	assert.Positive(t, summary.Lagging)
	assert.GreaterOrEqual(t, summary.Throttled, summary.Lagging)

	execute(t, conn, `insert into fedsender.domain_allow (domain) values ('N19.example')`) // shadows the block
	assert.Equal(t, []string{"n19.example"}, column[string](t, conn, `select domain from fedsender.instance_status where state <> 'blocked'`))
	execute(t, conn, `update fedsender.domain_allow set expires_at = now()`)
	assert.Equal(t, []string{"n19.example"}, column[string](t, conn, `select domain from fedsender.instance_status where state = 'blocked'`))
}

func TestViews_LagSlotsAreNarrow(t *testing.T) {
	conn := migrated(t)
	assert.Zero(t, value[int](t, conn, `
		select count(*)
		from (
		  select d from generate_series(0, 5000) d
		  union all
		  select (1::bigint << b) + o from generate_series(6, 61) b, generate_series(-3, 3) o
		) s
		where not fedsender.lag_distance(fedsender.lag_slot(d)) between ceil(d::numeric * 31 / 32) and d
		   or fedsender.lag_slot(d + 1) not in (fedsender.lag_slot(d), fedsender.lag_slot(d) + 1)`))
	assert.Zero(t, value[int](t, conn, `select fedsender.lag_slot(-5)`))
}

func TestViews_ShowWhoHoldsWhatToWhoMayReadOnlyThem(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_id, reason) values (1, 1, 'x'), (2, 1, 'x'), (3, null, 'y')`)
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "one", Name: "sender-1", Address: ":9464", Version: "v1", InFlight: 3, DeliveredPerSecond: 1.5}))
	require.NoError(t, pg.WriteProcess(t.Context(), conn, pg.Process{ID: "on", Name: "gone"}))
	one, unknown := openLeaseSession(t, conn.Config(), "one"), openLeaseSession(t, conn.Config(), "unknown")
	_, err := one.Lock(t.Context(), []int32{1, 77})
	require.NoError(t, err)
	_, err = unknown.Lock(t.Context(), []int32{2})
	require.NoError(t, err)

	viewer := role(t, conn, "viewer")
	grant(t, conn, viewer, viewerGrants)
	assert.ElementsMatch(t, []string{"1 one.example sender-1 one", "2 two.example fedsender:unknown", "77 sender-1 one"},
		column[string](t, viewer, `select concat_ws(' ', instance_id, domain, holder, process_id) from fedsender.lease`))
	processes, err := pg.Processes(t.Context(), viewer)
	require.NoError(t, err)
	require.Len(t, processes, 1)
	assert.Equal(t, 2, processes[0].Leases)
	assert.InDelta(t, 1.5, processes[0].DeliveredPerS, 0.01)
	summary, err := pg.Summary(t.Context(), viewer)
	require.NoError(t, err)
	assert.EqualValues(t, 1, summary.Processes)
	assert.EqualValues(t, 3, summary.DeadLetters)
	statuses, err := pg.InstanceStatuses(t.Context(), viewer, pg.InstanceStatusFilter{Domain: "one.example"})
	require.NoError(t, err)
	require.Len(t, statuses, 1)
	assert.Equal(t, "sender-1", statuses[0].Holder)
	assert.EqualValues(t, 2, statuses[0].DeadLetters)
	statuses, err = pg.InstanceStatuses(t.Context(), viewer, pg.InstanceStatusFilter{Domain: "one.example", NoHolder: true})
	require.NoError(t, err)
	assert.Empty(t, statuses[0].Holder)
	assert.Len(t, column[string](t, viewer, `select error from fedsender.recent_error where at <= now()`), 3)

	require.NoError(t, one.Leave(t.Context()))
	assert.Equal(t, "sender-1", value[string](t, viewer, `select holder from fedsender.instance_status where instance_id = 1`))

	for _, table := range []string{"actor", "activity", "queue_state", "source_actor", "doorbell"} {
		_, err := viewer.Exec(t.Context(), `select from fedsender.`+table)
		assert.ErrorContains(t, err, "permission denied", table)
	}
}

func TestViews_ShowHowTheLoadIsShared(t *testing.T) {
	conn := withFollowers(t)
	ctx := t.Context()
	for _, p := range []pg.Process{
		{ID: "usual", Name: "usual", Leases: 2, Load: 70, Speed: 1000, HeavyIDs: []int32{1, 2}, HeavyLoads: []float32{40, 20}},
		{ID: "slow", Name: "slow", Leases: 1, Load: 30},
		{ID: "gone", Name: "gone", Load: 1000},
	} {
		require.NoError(t, pg.WriteProcess(ctx, conn, p))
		require.NoError(t, pg.WriteProcess(ctx, conn, p), "the second one updates")
	}
	openLeaseSession(t, conn.Config(), "usual")
	slow, err := pg.OpenLeaseSession(ctx, conn.Config(), "slow", 400, quiet())
	require.NoError(t, err)
	defer slow.Close()

	before, err := pg.ReadBalance(ctx, conn)
	require.NoError(t, err)
	require.Zero(t, before.Version)
	next := pg.Balance{Version: 1, Weights: []byte(`{"light": 10, "processes": [{"id": "slow", "percent": 25}]}`), MadeBy: "usual"}
	written, err := pg.WriteBalance(ctx, conn, next)
	require.NoError(t, err)
	require.True(t, written)
	written, err = pg.WriteBalance(ctx, conn, next)
	require.NoError(t, err)
	require.False(t, written, "another one was first")
	after, err := pg.ReadBalance(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, next, after)
	require.NoError(t, slow.Show(ctx, 1))

	processes, err := pg.Processes(ctx, conn)
	require.NoError(t, err)
	require.Len(t, processes, 2)
	for i, want := range []pg.ProcessStatus{
		{Name: "slow", Load: 30, FairLoad: 20, Capacity: 25, MaxLeases: 400, Balance: 1}, {Name: "usual", Load: 70, FairLoad: 80, Capacity: 100},
	} {
		want.Since, want.PID, want.SilentSeconds = processes[i].Since, processes[i].PID, processes[i].SilentSeconds
		want.Role, want.MayEnd = "postgres", true
		assert.Equal(t, want, processes[i])
	}
	loads, err := pg.ProcessLoads(ctx, conn, []string{"usual", "unknown"})
	require.NoError(t, err)
	require.Len(t, loads, 1)
	assert.Equal(t, []int32{1, 2}, loads[0].HeavyIDs)
	assert.Equal(t, []float32{40, 20}, loads[0].HeavyLoads)
	assert.Equal(t, 2, loads[0].Leases)
	assert.Less(t, loads[0].Age, time.Minute)
}
