package pg_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// migrated returns a connection to a fresh database with the schema and three actors, 1 to 3.
func migrated(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := admin(t, postgres.Database(t))
	prepare(t, conn)
	return conn
}

func prepare(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	migrate(t, conn, pg.MigrateOptions{})
	execute(t, conn, `insert into fedsender.actor (ap_id) select 'https://a.example/' || g from generate_series(1, 3) g`)
}

func another(t *testing.T, conn *pgx.Conn) *pgx.Conn {
	t.Helper()
	again, err := pgx.ConnectConfig(t.Context(), conn.Config().Copy())
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Close(context.WithoutCancel(t.Context())) })
	return again
}

// changes returns what statements logged, and forgets it.
func changes(t *testing.T, conn pg.Querier) []string {
	t.Helper()
	return column[string](t, conn, `
		with gone as (delete from fedsender.change returning kind, actor_id, instance_id)
		select concat_ws(' ', kind, 'actor=' || actor_id, 'instance=' || instance_id) from gone order by 1`)
}

func tombstones(t *testing.T, conn pg.Querier) []string {
	t.Helper()
	return column[string](t, conn, `
		with gone as (delete from fedsender.follower_tombstone returning *)
		select format('actor=%s instance=%s %s shared=%s through=%s', actor_id, instance_id, inbox, is_shared, through_id) from gone order by 1`)
}

// instances 1 and 2, with followers of actor 1 at both, without any trace of how they came.
func withFollowers(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := migrated(t)
	execute(t, conn, `
		insert into fedsender.instance (domain) values ('one.example'), ('two.example');
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox) values
		  (1, 'https://one.example/a', 1, 'https://one.example/a/inbox', 'https://one.example/inbox'),
		  (1, 'https://one.example/b', 1, 'https://one.example/b/inbox', null),
		  (1, 'https://two.example/a', 2, 'https://two.example/a/inbox', 'https://two.example/inbox');
		truncate fedsender.change`)
	return conn
}

const insertOne = `insert into fedsender.activity (ap_id, data, actor_id) values (gen_random_uuid()::text, '{}', 1) returning id`

func TestSchema_TransactionsCanBePreparedWhateverTheyChange(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `update fedsender.doorbell set armed = true`)
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		name := strings.ReplaceAll(isolation, " ", "_") + conn.Config().Database
		execute(t, conn, `begin isolation level `+isolation)
		execute(t, conn, insertOne)
		for _, sql := range []string{
			`insert into fedsender.instance (domain, shared_inbox) values ($1 || '.example', 'https://x')`,
			`insert into fedsender.actor (ap_id) values ($1)`,
			`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) values (2, $1, 1, 'https://one.example/inbox')`,
			`update fedsender.follower set inbox = $1`,
			`delete from fedsender.follower where follower_ap_id = $1`,
			`update fedsender.instance set last_seen_at = now(), software = $1`,
			`update fedsender.actor set private_key_pem = $1`,
			`insert into fedsender.domain_block (domain) values ($1)`,
			`insert into fedsender.domain_allow (domain) values ($1)`,
			`delete from fedsender.domain_allow where domain = $1`,
			`insert into fedsender.instance_control (instance_id, note) values (1, $1) on conflict (instance_id) do update set note = $1`,
		} {
			execute(t, conn, sql, name)
		}
		execute(t, conn, `select fedsender.pause('two.example'), fedsender.retry_now('two.example'), fedsender.skip_to_latest('one.example')`)
		execute(t, conn, `delete from fedsender.instance where domain = $1 || '.example'`, name)
		execute(t, conn, `prepare transaction '`+name+`'`)
		execute(t, conn, `commit prepared '`+name+`'`)
	}
	assert.Equal(t, 3, value[int](t, conn, `select count(*) from fedsender.activity`))
}

func TestSchema_RowsNeedOnlyTheColumnsOfTheContract(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `
		insert into fedsender.actor values (10, 'https://a.example/10', null, null, 'Group', false);
		insert into fedsender.instance values (20, 'two.example', 'lemmy', '1.0', 'https://two.example/inbox', now(), now());
		insert into fedsender.follower values (10, 'https://two.example/u', 20, 'https://two.example/u/inbox', null, now());
		insert into fedsender.activity values (default, 'a:1', '{}', 10, false, now(), '{}', '{}', false);
		insert into fedsender.domain_block values ('bad.example', now(), null, 'spam');
		insert into fedsender.instance_control values (20, null, 5, 'slow')`)
	copied, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("a:2\t{}\t10\t{https://two.example/inbox}\t{10}\tt\n"),
		`copy fedsender.activity (ap_id, data, actor_id, send_inboxes, send_followers_of, send_all_instances) from stdin`)
	require.NoError(t, err)
	assert.EqualValues(t, 1, copied.RowsAffected())
	_, err = conn.PgConn().CopyFrom(t.Context(), strings.NewReader("10\thttps://two.example/v\t20\thttps://two.example/v/inbox\t\\N\t2026-01-01\n"),
		`copy fedsender.follower from stdin`)
	require.NoError(t, err)
	assert.Equal(t, []int64{1, 2}, column[int64](t, conn, `select id from fedsender.source_activity order by id`))
	assert.Equal(t, "https://a.example/10#main-key", value[string](t, conn, `select key_id from fedsender.source_actor where id = 10`))
}

func TestSchema_BodyIsTheStoredTextByteForByte(t *testing.T) {
	conn := migrated(t)
	body := "{ \"b\":1,\t\"a\" : [1,  2.50, 1e2 ],\n \"a\":\"\\u00e9é\"}"
	execute(t, conn, `insert into fedsender.activity (ap_id, data, actor_id) values ('x', $1::text::json, 1)`, body)
	assert.Equal(t, body, value[string](t, conn, `select body from fedsender.source_activity`))
}

func TestSchema_DomainsAreThoseThatCanBeCompared(t *testing.T) {
	conn := migrated(t)
	for _, domain := range []string{"a.example", "a.example:8443", "127.0.0.1:3000", "[::1]:3000", "xn--bcher-kva.example"} {
		execute(t, conn, `insert into fedsender.instance (domain) values ($1)`, domain)
	}
	for _, domain := range []string{"", "A.example", "a.example/inbox", "u@a.example", "a b", "bücher.example", strings.Repeat("a", 261)} {
		_, err := conn.Exec(t.Context(), `insert into fedsender.instance (domain) values ($1)`, domain)
		assert.ErrorContains(t, err, "domain_is_lower_case_ascii", domain)
	}
	for _, domain := range []string{"", "bücher.example", "https://a.example/", "*.a.example", ".a.example", "a.example:443", "a.example,b.example"} {
		_, err := conn.Exec(t.Context(), `insert into fedsender.domain_block (domain) values ($1)`, domain)
		assert.ErrorContains(t, err, "domain_is_a_name", "an entry that would block nothing: %q", domain)
	}
	execute(t, conn, `insert into fedsender.domain_block (domain) values ('A.Example')`)
	assert.Equal(t, "a.example", value[string](t, conn, `select domain from fedsender.source_domain_list`))
}

func TestSchema_FollowersAreLoggedByActorAndInstance(t *testing.T) {
	conn := withFollowers(t)
	id := value[int64](t, conn, insertOne)
	steps := []struct {
		sql        string
		changes    []string
		tombstones []string
	}{
		{`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		  select 1 + g % 2, 'https://one.example/' || g, 1, 'x' from generate_series(1, 100) g`,
			[]string{"follower actor=1 instance=1", "follower actor=2 instance=1"}, nil},
		{`delete from fedsender.follower where inbox = 'x' and actor_id = 2`,
			[]string{"follower actor=2 instance=1"}, []string{fmt.Sprintf("actor=2 instance=1 x shared=f through=%d", id)}},
		{`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) values (1, 'https://one.example/b', 1, 'https://one.example/b/inbox')
		  on conflict (actor_id, follower_ap_id) do update set inbox = excluded.inbox`, nil, nil},
		{`update fedsender.follower set created_at = now()`, nil, nil},
		{`delete from fedsender.follower where false`, nil, nil},
		{`update fedsender.follower set shared_inbox = 'https://one.example/inbox' where follower_ap_id = 'https://one.example/b'`,
			[]string{"follower actor=1 instance=1"}, nil},
		{`update fedsender.follower set instance_id = 2 where follower_ap_id = 'https://one.example/b'`,
			[]string{"follower actor=1 instance=1", "follower actor=1 instance=2"},
			[]string{fmt.Sprintf("actor=1 instance=1 https://one.example/inbox shared=t through=%d", id)}},
		{`update fedsender.follower set actor_id = 3 where follower_ap_id = 'https://one.example/b'`,
			[]string{"follower actor=1 instance=2", "follower actor=3 instance=2"},
			[]string{fmt.Sprintf("actor=1 instance=2 https://one.example/inbox shared=t through=%d", id)}},
		{`delete from fedsender.actor where id = 3`,
			[]string{"follower actor=3 instance=2"},
			[]string{fmt.Sprintf("actor=3 instance=2 https://one.example/inbox shared=t through=%d", id)}},
		{`delete from fedsender.instance where id = 2`,
			[]string{"follower actor=1 instance=2", "instance instance=2"}, nil},
		{`truncate fedsender.follower`, []string{"followers"}, nil},
		{`insert into fedsender.instance (domain) select g || '.example' from generate_series(1, 10001) g`, []string{"instances"}, nil},
		{`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		  select 1, 'https://x.example/' || id, id, 'x' from fedsender.instance where id > 2`, []string{"followers"}, nil},
		{`update fedsender.follower set shared_inbox = 'y'`, []string{"followers"}, nil},
		{`update fedsender.instance set last_seen_at = 'infinity'`, []string{"instances"}, nil},
		{`delete from fedsender.follower where instance_id < 10000`, nil, nil}, // looked at below
	}
	for _, step := range steps[:len(steps)-1] {
		execute(t, conn, step.sql)
		assert.ElementsMatch(t, step.changes, changes(t, conn), step.sql)
		assert.ElementsMatch(t, step.tombstones, tombstones(t, conn), step.sql)
	}
	execute(t, conn, steps[len(steps)-1].sql)
	assert.Len(t, changes(t, conn), 9997)
	assert.Len(t, tombstones(t, conn), 9997)
}

// The plans of a trigger are kept for the session and made for its first statement; a nested loop over twice 100,000 rows
// would take an hour.
func TestSchema_BigStatementsAfterSmallOnesTakeSeconds(t *testing.T) {
	conn := withFollowers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	updates := func(where string) []string {
		return []string{
			`update fedsender.follower set inbox = inbox || 'x' ` + where,
			`update fedsender.instance set shared_inbox = 'x' ` + where,
			`update fedsender.actor set private_key_pem = 'x' ` + where,
			`delete from fedsender.follower ` + where,
		}
	}
	fill := []string{
		`insert into fedsender.instance (domain) select g || '.example' from generate_series(1, 100000) g`,
		`insert into fedsender.actor (ap_id) select g from generate_series(1, 100000) g`,
		`insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		 select 1 + g % 3, g, 3 + g % 20000, 'https://x.example/' || g from generate_series(1, 100000) g`,
	}
	for _, sql := range slices.Concat(updates(`where ctid = '(0,1)'`), fill, updates(``)) {
		_, err := conn.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
}

func TestSchema_UnfollowDoesNotWaitForAnInstanceThatIsBeingDeleted(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `begin`)
	execute(t, conn, `select from fedsender.instance where id = 1 for update`) // what a DELETE does first
	other := another(t, conn)
	execute(t, other, `set lock_timeout = '2s'`)
	execute(t, other, `delete from fedsender.follower where instance_id = 1`)
	execute(t, conn, `delete from fedsender.instance where id = 1`)
	execute(t, conn, `commit`)
	assert.Equal(t, 1, value[int](t, conn, `select count(*) from fedsender.follower`))
}

func TestSchema_DeletingAnInstanceLeavesNothingOfIt(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, `
		insert into fedsender.instance_control (instance_id) values (1);
		insert into fedsender.dead_letter (activity_id, instance_id, reason) values (1, 1, 'x');
		insert into fedsender.redelivery (instance_id, activity_id, inbox) values (1, 1, '');
		delete from fedsender.instance where id = 1`)
	for _, table := range []string{"queue_state", "instance_health", "instance_start", "instance_control", "dead_letter", "redelivery", "follower"} {
		assert.Zero(t, value[int](t, conn, `select count(*) from fedsender.`+table+` where instance_id = 1`), table)
	}
	assert.Contains(t, changes(t, conn), "instance instance=1")
}

func TestSchema_OtherChangesAreLoggedWhenTheyAreNews(t *testing.T) {
	conn := withFollowers(t)
	for _, step := range []struct {
		sql  string
		want []string
	}{
		{`insert into fedsender.instance (domain) values ('three.example')`, []string{"instance instance=3"}},
		{`insert into fedsender.instance (domain) values ('three.example') on conflict do nothing`, nil},
		{`update fedsender.instance set software = 'x', last_seen_at = now()`, nil},
		{`update fedsender.instance set last_seen_at = now() + interval '2 days' where id = 2`, []string{"instance instance=2"}},
		{`update fedsender.instance_health set gone = true where instance_id = 2`, nil},
		{`update fedsender.instance set last_seen_at = last_seen_at + interval '1 second'`, []string{"instance instance=2"}},
		{`update fedsender.instance set shared_inbox = 'https://x' where id < 3`, []string{"instance instance=1", "instance instance=2"}},
		{`insert into fedsender.domain_block (domain) values ('x')`, []string{"list"}},
		{`update fedsender.domain_block set expires_at = now()`, []string{"list"}},
		{`delete from fedsender.domain_block`, []string{"list"}},
		{`truncate fedsender.domain_allow`, []string{"list"}},
		{`update fedsender.actor set kind = 'Group', deleted = true`, nil},
		{`update fedsender.actor set private_key_pem = 'x' where id = 2`, []string{"actor actor=2"}},
		{`insert into fedsender.instance_control (instance_id, max_in_flight) values (1, 3)`, []string{"control instance=1"}},
		{`update fedsender.instance_control set paused_until = now()`, []string{"control instance=1"}},
		{`delete from fedsender.instance_control`, []string{"control instance=1"}},
		{`delete from fedsender.activity`, nil},
	} {
		execute(t, conn, step.sql)
		assert.ElementsMatch(t, step.want, changes(t, conn), step.sql)
	}
}
