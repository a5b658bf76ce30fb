package pg_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// What each role needs. docs/sql.md shows these very statements.
const (
	applicationGrants = `grant usage on schema fedsender to application;
grant select, insert, update, delete on fedsender.actor, fedsender.instance, fedsender.follower,
  fedsender.domain_allow, fedsender.domain_block to application;
grant select, insert, delete on fedsender.activity to application;`

	outboxGrants = `grant usage on schema fedsender to outbox;
grant insert on fedsender.activity to outbox;`

	operatorGrants = `grant usage on schema fedsender to operator;
grant select on all tables in schema fedsender to operator;
revoke select on fedsender.actor, fedsender.source_actor from operator; -- the private keys
grant insert, update on fedsender.instance_control, fedsender.queue_state to operator;
grant insert on fedsender.redelivery to operator;
grant update on fedsender.instance_health, fedsender.autoscale_setting to operator;
grant update (id, xid) on fedsender.activity to operator; -- retry_dead_letter
grant delete on fedsender.instance_start, fedsender.dead_letter to operator;
grant execute on function fedsender.log_change(text, bigint, integer) to operator;`

	viewerGrants = `grant fedsender_viewer to viewer;`

	senderGrants = `grant usage on schema fedsender to sender;
grant select, insert, update, delete on all tables in schema fedsender to sender;
grant execute on function fedsender.log_change(text, bigint, integer) to sender;
grant pg_read_all_stats to sender; -- a fence is cheaper when it sees who is in a transaction`
)

// grant runs the statements for the role of conn, whatever they call it.
func grant(t *testing.T, owner, conn *pgx.Conn, statements string) {
	t.Helper()
	name := conn.Config().User
	short, _, _ := strings.Cut(name, "_")
	statements = strings.ReplaceAll(statements, "to "+short, "to "+name)
	execute(t, owner, strings.ReplaceAll(statements, "from "+short, "from "+name))
}

func TestRoles_OutboxMayOnlyInsert(t *testing.T) {
	owner := withFollowers(t)
	execute(t, owner, `update fedsender.doorbell set armed = true`)
	conn := role(t, owner, "outbox")
	grant(t, owner, conn, outboxGrants)
	execute(t, conn, `set search_path = pg_temp`) // nothing may depend on the caller's
	const insert = `insert into fedsender.activity (ap_id, data, actor_id, send_followers_of) values (pg_catalog.gen_random_uuid(), '{}', 1, '{1}')`
	execute(t, conn, insert)
	execute(t, conn, `begin isolation level serializable; `+insert+`; commit`)
	execute(t, conn, `create temp table activity (); create temp table doorbell (armed text)`)
	execute(t, conn, insert)
	assert.Equal(t, 3, value[int](t, owner, `select count(*) from fedsender.activity`))
	for _, sql := range []string{
		`select from fedsender.activity`, `select from fedsender.doorbell`, `delete from fedsender.activity`,
		`select fedsender.log_change('list', null, null)`,
		`create temp table t (); create trigger t after insert on t for each statement execute function fedsender.ring_activity()`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		assert.ErrorContains(t, err, "permission denied", sql)
	}
}

// TestRoles_NoFunctionOfTheCallersRunsInTheBell: the function of the trigger has the owner's rights and no search_path of its own.
func TestRoles_NoFunctionOfTheCallersRunsInTheBell(t *testing.T) {
	owner := withFollowers(t)
	execute(t, owner, `
		create schema hostile;
		create function hostile.fail(text, text) returns boolean language plpgsql as $$ begin raise exception 'it ran'; end $$;
		create function hostile.differs(bigint, integer) returns boolean language sql return hostile.fail('', '');
		create function hostile.pg_sequence_last_value(pg_catalog.regclass) returns bigint language sql return hostile.fail('', '')::integer;
		create function hostile.setval(pg_catalog.regclass, bigint) returns bigint language sql return hostile.fail('', '')::integer;
		create function hostile.pg_notify(text, text) returns boolean language sql return hostile.fail($1, $2);
		create function hostile.current_setting(text) returns text language sql return hostile.fail($1, $1)::text;
		create operator hostile.= (leftarg = text, rightarg = text, function = hostile.fail);
		create operator hostile.= (leftarg = bigint, rightarg = integer, function = hostile.differs);
		create domain hostile.text as pg_catalog.text check (hostile.fail(value, value));
		create domain hostile.regclass as pg_catalog.regclass check (hostile.fail('', ''));
		create table hostile.doorbell (armed boolean check (hostile.fail('', '')));
		grant usage on schema hostile to public`)
	conn := role(t, owner, "outbox")
	grant(t, owner, conn, outboxGrants)
	sender := role(t, owner, "sender")
	grant(t, owner, sender, `grant usage on schema fedsender to sender; grant select, update on fedsender.doorbell to sender`)
	for _, c := range []*pgx.Conn{conn, sender} {
		execute(t, c, `set search_path = hostile, pg_catalog`)
	}
	for _, armed := range []bool{false, true, false, false} {
		execute(t, sender, `update fedsender.doorbell set armed = $1 where armed <> $1`, armed)
		execute(t, conn, `insert into fedsender.activity (ap_id, data, actor_id) values (pg_catalog.gen_random_uuid(), '{}', 1)`)
		execute(t, conn, `insert into fedsender.activity (ap_id, data, actor_id) values (pg_catalog.gen_random_uuid(), '{}', 1)`)
	}
}

func TestRoles_ApplicationWritesItsTablesAndNothingElse(t *testing.T) {
	owner := withFollowers(t)
	conn := role(t, owner, "application")
	grant(t, owner, conn, applicationGrants)
	for _, sql := range []string{
		`insert into fedsender.instance (domain, shared_inbox) values ('three.example', 'https://three.example/inbox')`,
		`insert into fedsender.actor (ap_id) values ('https://a.example/4')`,
		`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) values (4, 'https://three.example/u', 3, 'https://three.example/u/inbox')`,
		`update fedsender.follower set shared_inbox = 'https://three.example/inbox' where actor_id = 4`,
		`update fedsender.actor set private_key_pem = 'x'`,
		`update fedsender.instance set last_seen_at = now()`,
		`delete from fedsender.follower where actor_id = 4`,
		`insert into fedsender.domain_block (domain) values ('bad.example')`,
		`update fedsender.domain_block set reason = 'spam'`,
		`delete from fedsender.domain_block`,
		insertOne,
		`select fedsender.enqueue('x', '{}', 'https://a.example/4', null, '{4}', true)`,
		`delete from fedsender.activity where published_at < now()`,
		`delete from fedsender.instance where id = 1`,
	} {
		execute(t, conn, sql)
	}
	for _, sql := range []string{
		`select from fedsender.queue_state`, `update fedsender.activity set data = '{}'`, `select fedsender.pause('two.example')`,
		`select from fedsender.instance_status`, `truncate fedsender.activity`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		assert.ErrorContains(t, err, "permission denied", sql)
	}
}

func TestRoles_OperatorControlsTheQueueWithoutSeeingKeys(t *testing.T) {
	owner := withFollowers(t)
	execute(t, owner, insertOne)
	execute(t, owner, `insert into fedsender.dead_letter (activity_id, instance_id, reason) values (1, null, 'x'), (2, 1, 'x'), (2, 2, 'x')`)
	execute(t, owner, insertOne)
	conn := role(t, owner, "operator")
	grant(t, owner, conn, operatorGrants)
	for _, call := range []string{
		`pause('one.example')`, `resume('one.example')`, `retry_now('one.example')`, `skip_to_latest('one.example')`,
		`replay('one.example', 'epoch')`, `retry_dead_letter(1)`, `retry_dead_letter(2)`, `drop_dead_letter(3)`,
	} {
		execute(t, conn, `select fedsender.`+call)
	}
	execute(t, conn, `update fedsender.instance_control set max_in_flight = 3, note = 'slow'`)
	assert.Len(t, column[string](t, conn, `select domain from fedsender.instance_status`), 2)
	for _, sql := range []string{`select private_key_pem from fedsender.actor`, `select from fedsender.source_actor`, insertOne, `delete from fedsender.activity`} {
		_, err := conn.Exec(t.Context(), sql)
		assert.ErrorContains(t, err, "permission denied", sql)
	}
}

func TestRoles_SenderNeedNotOwnTheSchema(t *testing.T) {
	owner := withFollowers(t)
	conn := role(t, owner, "sender")
	grant(t, owner, conn, senderGrants)
	ctx := t.Context()
	require.NoError(t, pg.CheckSchema(ctx, conn))
	_, err := pg.ReadSource(ctx, conn)
	require.NoError(t, err)
	require.NoError(t, pg.Arm(ctx, conn))
	require.NoError(t, pg.Disarm(ctx, conn))
	require.NoError(t, pg.Load(ctx, conn, func(*pg.Loaded) {}))
	_, err = pg.Adopt(ctx, conn, 1, []string{"new.example"})
	require.NoError(t, err)
	require.NoError(t, pg.PublishHorizon(ctx, conn, 5))
	require.NoError(t, pg.WriteProcess(ctx, conn, pg.Process{ID: "x"}))
	_, err = pg.ProcessLoads(ctx, conn, []string{"x"})
	require.NoError(t, err)
	require.NoError(t, pg.DeleteProcess(ctx, conn, "x"))
	_, err = pg.ReadBalance(ctx, conn)
	require.NoError(t, err)
	_, err = pg.WriteBalance(ctx, conn, pg.Balance{Version: 1, Weights: []byte("{}")})
	require.NoError(t, err)
	_, _, err = pg.Prune(ctx, conn, 1)
	require.NoError(t, err)
	batch, _, err := (&pg.Saving{
		Checkpoints: []pg.Checkpoint{{InstanceID: 1, Cursor: 4}},
		Letters:     []pg.Letter{{ActivityID: 1, InstanceID: 1, Reason: "x"}},
		Redelivered: []pg.Redelivery{{InstanceID: 1, ActivityID: 1}},
	}).Batch()
	require.NoError(t, err)
	require.NoError(t, conn.SendBatch(ctx, batch).Close())
	require.NoError(t, pg.Pause(ctx, conn, "one.example", state(t, owner, 1).PausedUntil))
	_, err = pg.Replay(ctx, conn, "one.example", state(t, owner, 1).PausedUntil)
	require.NoError(t, err)
	_, err = pg.InstanceStatuses(ctx, conn, pg.InstanceStatusFilter{})
	require.NoError(t, err)
}
