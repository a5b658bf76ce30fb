package pg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func state(t *testing.T, conn *pgx.Conn, instance int32) pg.QueueState {
	t.Helper()
	states, err := pg.ReadQueueStates(t.Context(), conn, []int32{instance})
	require.NoError(t, err)
	require.Len(t, states, 1)
	return states[0]
}

// older returns which activities are older than the instance, above its cursor.
func older(t *testing.T, conn *pgx.Conn, instance int32) (ids []int64) {
	t.Helper()
	s := state(t, conn, instance)
	activities, err := pg.ReadRange(t.Context(), conn, s.Cursor, 1<<60, 1000)
	require.NoError(t, err)
	for i := range activities {
		if s.Start.Older(&activities[i]) {
			ids = append(ids, activities[i].ID)
		}
	}
	return ids
}

func TestSchema_InstanceStartsWithWhatIsCommittedAfterIt(t *testing.T) {
	conn := migrated(t)
	late, later, third := another(t, conn), another(t, conn), another(t, conn)
	execute(t, late, `begin`)
	execute(t, late, insertOne) // 1: commits after the instance
	execute(t, later, `begin`)  // has written nothing yet
	execute(t, conn, `begin`)   // makes the instance
	execute(t, conn, insertOne) // 2: of the same transaction, before
	execute(t, conn, `savepoint s`)
	execute(t, conn, insertOne) // 3: the same, in a subtransaction
	execute(t, conn, `release s`)
	execute(t, third, insertOne) // 4: older, though of a younger transaction than that which makes the instance
	execute(t, conn, `insert into fedsender.instance (domain) values ('one.example')`)
	execute(t, conn, insertOne)  // 5: of the same transaction, after
	execute(t, later, insertOne) // 6: commits before the instance, and was not visible to it
	execute(t, later, `commit`)
	execute(t, conn, `commit`)
	execute(t, late, `commit`)
	execute(t, conn, insertOne) // 7

	assert.Equal(t, []int64{4}, older(t, conn, 1))
	assert.Zero(t, state(t, conn, 1).Cursor)
	assert.EqualValues(t, 4, state(t, conn, 1).Start.UntilID)

	execute(t, conn, `update fedsender.feed set horizon = 7`)
	execute(t, conn, `insert into fedsender.instance (domain) values ('two.example')`)
	assert.EqualValues(t, 7, state(t, conn, 2).Cursor)
	assert.Empty(t, older(t, conn, 2))
}

func TestSchema_AdoptedInstancesBeginAtTheActivityThatNamesThem(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, insertOne)
	execute(t, conn, insertOne)
	execute(t, conn, `insert into fedsender.instance (domain) values ('known.example')`)
	made, err := pg.Adopt(t.Context(), conn, 2, []string{"new.example", "known.example", "", "No Domain", "é.example"})
	require.NoError(t, err)
	require.Len(t, made, 2)
	assert.EqualValues(t, 1, state(t, conn, 2).Cursor)
	assert.Nil(t, state(t, conn, 2).Start)
	assert.Zero(t, state(t, conn, 1).Cursor)
	assert.Equal(t, "new.example", value[string](t, conn, `select domain from fedsender.instance where id = 2`))
}

func requireNotFound(t *testing.T, err error, says string) {
	t.Helper()
	require.Error(t, err)
	assert.True(t, pg.IsNotFound(err))
	assert.Contains(t, pg.Sentence(err), says)
}

func TestSchema_ControlFunctionsKnowWhatIsNotThere(t *testing.T) {
	conn := migrated(t)
	for _, call := range []string{
		`fedsender.pause('no.example')`, `fedsender.resume('no.example')`, `fedsender.retry_now('no.example')`,
		`fedsender.skip_to_latest('no.example')`, `fedsender.replay('no.example', now())`,
	} {
		_, err := conn.Exec(t.Context(), `select `+call)
		requireNotFound(t, err, "there is no instance with domain no.example")
	}
	for _, call := range []string{`fedsender.retry_dead_letter(7)`, `fedsender.drop_dead_letter(7)`} {
		_, err := conn.Exec(t.Context(), `select `+call)
		requireNotFound(t, err, "there is no dead letter 7")
	}
	_, err := conn.Exec(t.Context(), `select fedsender.enqueue('x', '{}', 'https://nobody.example/')`)
	require.ErrorContains(t, err, "there is no actor with ap_id https://nobody.example/")
}

func TestSchema_PauseLastsUntilItsTimeOrResume(t *testing.T) {
	conn := withFollowers(t)
	paused := func() string {
		return value[string](t, conn, `select coalesce(paused_until::text, 'no') from fedsender.instance_control where instance_id = 1`)
	}
	execute(t, conn, `insert into fedsender.instance_control (instance_id, max_in_flight) values (1, 5)`)
	for _, call := range []string{`fedsender.pause('ONE.example')`, `fedsender.pause('one.example', null)`} {
		execute(t, conn, `select `+call)
		assert.Equal(t, "infinity", paused())
	}
	assert.Equal(t, 9999, state(t, conn, 1).PausedUntil.Year())
	execute(t, conn, `select fedsender.pause('one.example', '2030-01-01 00:00Z')`)
	assert.Equal(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), state(t, conn, 1).PausedUntil.UTC())
	execute(t, conn, `select fedsender.resume('one.example')`)
	assert.Equal(t, "no", paused())
	assert.Equal(t, 5, state(t, conn, 1).MaxInFlight)
	execute(t, conn, `select fedsender.resume('two.example')`) // never paused
}

func TestSchema_RetryNowForgetsBackOffAndThrottle(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `
		update fedsender.queue_state set fail_count = 3, last_retry_at = now();
		update fedsender.instance_health set not_before = now() + interval '1 day', throttles = 4;
		select fedsender.retry_now('one.example')`)
	s := state(t, conn, 1)
	assert.Equal(t, 3, s.FailCount)
	assert.True(t, s.LastRetryAt.IsZero() && s.NotBefore.IsZero())
	assert.Zero(t, s.Throttles)
	assert.Equal(t, []string{"retry instance=1"}, changes(t, conn))
	assert.Equal(t, 4, state(t, conn, 2).Throttles)
}

func TestSchema_SkipAndReplayMoveTheCursor(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `
		insert into fedsender.activity (ap_id, data, actor_id, published_at)
		select g, '{}', 1, '2026-01-01'::timestamptz + g * interval '1 hour' from generate_series(1, 10) g;
		update fedsender.instance_health set ahead_id = 5, held = '[{"id": 4}]'`)
	moved := func(call string) int64 { return value[int64](t, conn, `select fedsender.`+call) }

	assert.EqualValues(t, 10, moved(`skip_to_latest('one.example')`))
	s := state(t, conn, 1)
	assert.EqualValues(t, 10, s.Cursor)
	assert.Zero(t, s.AheadID)
	assert.JSONEq(t, "[]", string(s.Held))
	assert.Nil(t, s.Start)
	assert.Equal(t, []string{"cursor instance=1"}, changes(t, conn))
	assert.Zero(t, moved(`skip_to_latest('one.example')`))

	assert.Zero(t, moved(`replay('one.example', '2027-01-01')`))
	assert.EqualValues(t, 4, moved(`replay('one.example', '2026-01-01 07:00Z')`))
	assert.EqualValues(t, 6, state(t, conn, 1).Cursor)
	assert.Zero(t, moved(`replay('one.example', '2026-01-01 09:00Z')`)) // never forward
	assert.EqualValues(t, 6, moved(`replay('one.example', '2020-01-01')`))
	assert.Zero(t, state(t, conn, 1).Cursor)

	execute(t, conn, `delete from fedsender.queue_state`)
	assert.Zero(t, moved(`skip_to_latest('one.example')`))
	assert.EqualValues(t, 10, state(t, conn, 1).Cursor)
	assert.EqualValues(t, 4, moved(`replay('two.example', '2026-01-01 07:00Z')`))
}

func TestSchema_DeadLettersAreTriedAgainOrDropped(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, insertOne)
	execute(t, conn, insertOne)
	execute(t, conn, `
		insert into fedsender.dead_letter (activity_id, instance_id, inbox, reason) values
		  (1, 1, 'https://one.example/inbox', 'no'), (1, 1, 'https://one.example/b/inbox', 'no'), (1, null, null, 'no key'),
		  (2, null, 'javascript:', 'no URL'), (99, 1, null, 'gone'), (99, null, null, 'gone'), (2, 2, null, 'no')`)
	for id, says := range map[int]string{
		4: "dead letter 4 names no server that could be tried: javascript:",
		5: "activity 99 of dead letter 5 is gone",
		6: "activity 99 of dead letter 6 is gone",
	} {
		_, err := conn.Exec(t.Context(), `select fedsender.retry_dead_letter($1::bigint)`, id)
		require.ErrorContains(t, err, says)
		execute(t, conn, `select fedsender.drop_dead_letter($1::bigint)`, id)
	}
	execute(t, conn, `truncate fedsender.change; select fedsender.retry_dead_letter(1), fedsender.retry_dead_letter(7)`)
	execute(t, conn, `select fedsender.retry_dead_letter(2)`)
	redeliveries, err := pg.ReadRedeliveries(t.Context(), conn, []int32{1, 2})
	require.NoError(t, err)
	assert.ElementsMatch(t, []pg.Redelivery{
		{InstanceID: 1, ActivityID: 1, Inbox: "https://one.example/inbox"}, {InstanceID: 1, ActivityID: 1, Inbox: "https://one.example/b/inbox"},
		{InstanceID: 2, ActivityID: 2},
	}, redeliveries, "each inbox that could not take it, and no other")
	assert.Equal(t, []string{"redelivery instance=1", "redelivery instance=1", "redelivery instance=2"}, changes(t, conn))

	execute(t, conn, `select fedsender.retry_dead_letter(3)`)
	assert.Equal(t, []int64{2, 3}, column[int64](t, conn, `select id from fedsender.activity order by id`)) // 1 is 3 now
	assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.dead_letter`))
}

func TestSchema_ALetterOfSeveralIsTriedAgainAtThemOnly(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, insertOne)
	execute(t, conn, `insert into fedsender.instance (domain) select n || '.example' from generate_series(1, 6) n`)
	ids := column[int32](t, conn, `select id from fedsender.instance order by id`)
	one, some, others := ids[len(ids)-6], ids[len(ids)-5:len(ids)-2], ids[len(ids)-3:len(ids)-1]
	letter := func(id int32, several ...int32) pg.Letter {
		return pg.Letter{ActivityID: 1, InstanceID: id, InstanceIDs: several, Reason: "no key"}
	}
	for _, letters := range [][]pg.Letter{ // of two processes
		{letter(0, some[2], some[0]), letter(0, some[1]), letter(one)},
		{letter(0, others...), letter(one), letter(0, 2147483647, others[0])}, // one that was deleted
		{letter(0, others[0], others[1])},
	} {
		saving := pg.Saving{Letters: letters}
		batch, _, err := saving.Batch()
		require.NoError(t, err)
		require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
	}
	require.Equal(t, 2, value[int](t, conn, `select count(*) from fedsender.dead_letter`), "one of the one, and one of all others")
	before := column[int64](t, conn, `select id from fedsender.activity`)
	execute(t, conn, `truncate fedsender.change`)
	execute(t, conn, `select fedsender.retry_dead_letter(id) from fedsender.dead_letter`)
	assert.Equal(t, before, column[int64](t, conn, `select id from fedsender.activity`), "it keeps its id")
	assert.Equal(t, ids[len(ids)-6:len(ids)-1], column[int32](t, conn, `select instance_id from fedsender.redelivery order by 1`))
	assert.Len(t, changes(t, conn), 5)
	assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.dead_letter`))
}

func TestSchema_PruneKeepsWhatADeadLetterOrARedeliveryNeeds(t *testing.T) {
	conn := withFollowers(t)
	for range 4 {
		execute(t, conn, insertOne)
	}
	execute(t, conn, `
		update fedsender.activity set published_at = now() - interval '1 year';
		update fedsender.queue_state set last_successful_id = 4;
		insert into fedsender.dead_letter (activity_id, instance_id, inbox, reason)
		values (1, 1, 'https://one.example/inbox', 'no'), (1, 1, 'https://one.example/b/inbox', 'no'), (3, 2, null, 'no');
		select fedsender.retry_dead_letter(1), fedsender.retry_dead_letter(2)`)
	_, deleted, err := pg.Prune(t.Context(), conn, time.Hour)
	require.NoError(t, err)
	assert.EqualValues(t, 2, deleted)
	assert.Equal(t, []int64{1, 3}, column[int64](t, conn, `select id from fedsender.activity order by id`))

	status, err := pg.InstanceStatusOf(t.Context(), conn, "one.example")
	require.NoError(t, err)
	assert.EqualValues(t, 2, status.Redeliveries)
	assert.Zero(t, status.DeadLetters)
	summary, err := pg.Summary(t.Context(), conn)
	require.NoError(t, err)
	assert.EqualValues(t, 2, summary.Redeliveries)
	trace, err := pg.TraceActivity(t.Context(), conn, value[string](t, conn, `select ap_id from fedsender.activity where id = 1`))
	require.NoError(t, err)
	require.NotEmpty(t, trace.Targets)
	assert.Equal(t, "one.example", trace.Targets[0].Domain)
	assert.False(t, trace.Targets[0].Settled)
	assert.False(t, trace.Targets[0].AgainSince.IsZero())

	execute(t, conn, `delete from fedsender.redelivery; select fedsender.drop_dead_letter(3)`)
	_, deleted, err = pg.Prune(t.Context(), conn, time.Hour)
	require.NoError(t, err)
	assert.EqualValues(t, 2, deleted, "settled, or given up for good")
}

func TestSchema_EnqueueIsAnInsert(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `insert into fedsender.instance (domain) values ('one.example')`)
	assert.EqualValues(t, 1, value[int64](t, conn, `select fedsender.enqueue('a', '{"a": 1}', 'https://a.example/2', array['https://one.example/inbox'], array[2, 3], true)`))
	assert.EqualValues(t, 2, value[int64](t, conn, `select fedsender.enqueue('b', '{}', 'https://a.example/1', null, null, null)`))
	assert.EqualValues(t, 3, value[int64](t, conn, `select fedsender.enqueue(ap_id => 'c', data => '{}', actor_ap_id => 'https://a.example/1', followers_of => '{1}')`))
	assert.Equal(t, []string{
		`a {"a": 1} 2 {https://one.example/inbox} {2,3} t`, `b {} 1 {} {} f`, `c {} 1 {} {1} f`,
	}, column[string](t, conn, `select concat_ws(' ', ap_id, body, actor_id, send_inboxes, send_followers_of, send_all_instances) from fedsender.source_activity order by id`))
}

func TestEnqueue_OnlyItsOwnIDIsOneThatIsThere(t *testing.T) {
	conn := migrated(t)
	enqueue := func(id string) error {
		_, err := pg.Enqueue(t.Context(), conn, pg.Enqueuing{APID: id, Document: []byte(`{}`), ActorAPID: "https://a.example/1"})
		return err
	}
	require.NoError(t, enqueue("a"))
	require.ErrorIs(t, enqueue("a"), pg.ErrEnqueued)
	execute(t, conn, `create unique index one_of_each_actor on fedsender.activity (actor_id)`)
	err := enqueue("b")
	require.ErrorContains(t, err, "one_of_each_actor")
	require.NotErrorIs(t, err, pg.ErrEnqueued)
}

func TestSchema_CursorsPassWhereTheLastOneStillStands(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `update fedsender.queue_state set last_successful_id = 5, fail_count = 3 where instance_id in (1, 2)`)
	pass := func(ids, expected string, cursor int64) []int32 {
		return column[int32](t, conn, `select fedsender.pass_cursors($1::text::integer[], $2::text::bigint[], $3, '2026-01-01T00:00:00Z')`, ids, expected, cursor)
	}
	assert.Equal(t, []int32{1}, pass(`{1, 2, 77}`, `{5, 4, 0}`, 7), "the second was moved, the last is gone")
	assert.Empty(t, pass(`{1}`, `{7}`, 6), "never backwards")
	s := state(t, conn, 1)
	assert.EqualValues(t, 7, s.Cursor)
	assert.Equal(t, 3, s.FailCount)
	assert.Equal(t, "2026-01-01", s.PublishedAt.UTC().Format(time.DateOnly))
	assert.EqualValues(t, 5, state(t, conn, 2).Cursor)
}

func TestSchema_CheckpointsAreSavedWhereTheCursorStillStands(t *testing.T) {
	conn := withFollowers(t)
	save := func(rows string) []int32 {
		return column[int32](t, conn, `select fedsender.save_checkpoints($1::text::jsonb)`, rows)
	}
	assert.Equal(t, []int32{1}, save(`[
		{"instance_id": 1, "expected": 0, "cursor_id": 7, "fail_count": 2, "last_success_at": "2026-01-01T00:00:00Z", "last_error": "x",
		 "last_http_status": 503, "gone_at": ["2026-01-01T00:00:00Z"], "ahead_id": 9, "held": [{"id": 8}], "published_at": "2026-01-01T00:00:00Z"},
		{"instance_id": 2, "expected": 5, "cursor_id": 7, "fail_count": 2},
		{"instance_id": 3, "expected": 0, "cursor_id": 7, "fail_count": 2}]`))
	s := state(t, conn, 1)
	assert.EqualValues(t, 7, s.Cursor)
	assert.EqualValues(t, 9, s.AheadID)
	assert.Equal(t, 503, s.LastStatus)
	assert.Len(t, s.GoneAt, 1)
	assert.Nil(t, s.Start)
	assert.Zero(t, state(t, conn, 2).FailCount)
	assert.Equal(t, "2026-01-01 00:00:00+00", value[string](t, conn, `select (last_seen_at at time zone 'utc')::text || '+00' from fedsender.instance where id = 1`))

	assert.Empty(t, save(`[{"instance_id": 1, "expected": 7, "cursor_id": 6}]`)) // never backwards
	assert.Equal(t, []int32{1}, save(`[{"instance_id": 1, "expected": 7, "cursor_id": 7}]`))
	assert.Equal(t, "2026-01-01", state(t, conn, 1).PublishedAt.UTC().Format(time.DateOnly))

	// Who deletes the instance holds its row and waits for its cursor.
	other := another(t, conn)
	execute(t, other, `begin`)
	execute(t, other, `select from fedsender.instance where id = 1 for update`)
	execute(t, conn, `set lock_timeout = '2s'`)
	assert.Equal(t, []int32{1}, save(`[{"instance_id": 1, "expected": 7, "cursor_id": 8, "last_success_at": "2026-02-01T00:00:00Z"}]`))
}

func TestSchema_PruneKeepsTheChangesOfALongTransaction(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `truncate fedsender.change; insert into fedsender.domain_block (domain) values ('early.example')`)
	long := another(t, conn)
	execute(t, long, `begin`)
	execute(t, long, `insert into fedsender.domain_allow (domain) values ('late.example')`)
	sweep := func() {
		execute(t, conn, `update fedsender.sweep set at = now() - interval '61 minutes'`)
		execute(t, conn, `update fedsender.change set at = now() - interval '2 hours'`)
		execute(t, conn, `select fedsender.prune('0')`)
	}
	sweep()
	assert.Equal(t, 1, value[int](t, conn, `select count(*) from fedsender.change`), "not before the sweep after it")
	sweep()
	assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.change`))
	execute(t, long, `commit`)
	sweep()
	assert.Equal(t, 1, value[int](t, conn, `select count(*) from fedsender.change`), "it ended less than an hour ago")
	sweep()
	assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.change`))

	execute(t, conn, fmt.Sprintf(`insert into fedsender.change (kind, xid) values ('list', '%d')`, int64(1)<<60)) // of another server
	sweep()
	assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.change`))
}
