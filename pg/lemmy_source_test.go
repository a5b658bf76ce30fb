package pg_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
)

// withWorld runs the test on a database of each line that is migrated and has a site.
func withWorld(t *testing.T, test func(t *testing.T, w *lemmy.World, conn *pgx.Conn)) {
	t.Helper()
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		migrate(t, conn, pg.MigrateOptions{})
		test(t, world(t, line, conn), conn)
	})
}

func TestLemmySource_SaysInWhatItDiffers(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		s, err := pg.ReadSource(t.Context(), conn)
		require.NoError(t, err)
		assert.Equal(t, pg.Source{
			Name: "lemmy", ActivityTable: "sent_activity", SequenceCache: 1, PreparesTransactions: s.PreparesTransactions,
			Variant: string(w.Line), VariantNow: string(w.Line), Rings: true, SilentTables: []string{}, StopsOnMovedCursor: true, RequestTimeout: 125 * time.Second,
		}, s)
		require.NoError(t, pg.CheckSchema(t.Context(), conn))
	})
}

const lemmysContext = `"@context":["https://join-lemmy.org/context.json","https://www.w3.org/ns/activitystreams"]`

func TestLemmySource_BodyHasTheContextFirstAndTheRestAsStored(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		for stored, want := range map[string]string{
			`{"b":1.50,"a" : [1,  2],"b":"\u00e9é"}`: `{` + lemmysContext + `,"b":1.50,"a" : [1,  2],"b":"\u00e9é"}`,
			` { "a":1}`:                   `{` + lemmysContext + `, "a":1}`,
			`{}`:                          `{` + lemmysContext + `}`,
			`{ }`:                         `{` + lemmysContext + ` }`,
			`{"object":{"@context":"x"}}`: `{` + lemmysContext + `,"object":{"@context":"x"}}`,
			`{"a":1,"@context":"own"}`:    `{"a":1,"@context":"own"}`,
			`{"a":"\u0000","object":{"@context":"\ud800"}}`: `{` + lemmysContext + `,"a":"\u0000","object":{"@context":"\ud800"}}`,
			`[1]`:  `[1]`,
			`null`: `null`,
		} {
			id, err := w.Send(t.Context(), lemmy.Activity{Name: stored, Actor: w.Site, Data: stored})
			require.NoError(t, err)
			activities, err := pg.ReadActivities(t.Context(), conn, []int64{id})
			require.NoError(t, err)
			require.Len(t, activities, 1)
			assert.Equal(t, want, activities[0].Body)
			_, gone, err := pg.ReadActor(t.Context(), conn, id)
			require.NoError(t, err, stored)
			assert.False(t, gone)
		}
	})
}

func TestLemmySource_FindsWhoSignsByWhatTheActivitySays(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		person, err := w.Person(ctx, "ann", lemmy.PKCS1)
		require.NoError(t, err)
		community, err := w.Community(ctx, "c", lemmy.PKCS8)
		require.NoError(t, err)
		for _, actor := range []lemmy.Actor{w.Site, person, community} {
			shouted := actor
			shouted.APID = strings.ToUpper(actor.APID)
			id, err := w.Send(ctx, lemmy.Activity{Name: actor.Kind, Actor: shouted, Data: `{"actor":"https://HOME.example/as/written"}`})
			require.NoError(t, err)
			found, _, err := pg.ReadActor(ctx, conn, id)
			require.NoError(t, err)
			assert.True(t, found.Found)
			assert.Equal(t, actor.APID+"#main-key", found.KeyID)
			whole, err := pg.ReadActivities(ctx, conn, []int64{id})
			require.NoError(t, err)
			assert.Equal(t, "#main-key", whole[0].KeyID, "it comes behind the actor of the text")
			assert.Contains(t, found.PrivateKeyPEM, "PRIVATE KEY")
			assert.Equal(t, value[string](t, conn, `
				select s.ap_id from fedsender.source_activity a join fedsender.source_actor s on s.id = a.actor_id where a.id = $1`, id), actor.APID)
		}
		for name, nobody := range map[string]lemmy.Actor{
			"nobody":        {Kind: "person", APID: "https://home.example/u/nobody"},
			"another kind":  {Kind: "community", APID: person.APID},
			"somebody else": {Kind: "person", APID: "https://one.example/u/fan"},
		} {
			id, err := w.Send(ctx, lemmy.Activity{Name: name, Actor: nobody})
			require.NoError(t, err)
			found, gone, err := pg.ReadActor(ctx, conn, id)
			require.NoError(t, err)
			assert.False(t, found.Found || gone, name)
		}
		execute(t, conn, `update sent_activity set actor_apub_id = null`)
		assert.Equal(t, []int64{0}, column[int64](t, conn, `select distinct actor_id from fedsender.source_activity`))
	})
}

func TestLemmySource_KnowsTheTransactionOfEachActivity(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		execute(t, conn, `begin`)
		_, err := conn.Exec(t.Context(), `
			insert into sent_activity (ap_id, data, sensitive, send_inboxes, send_all_instances, actor_type) values ('x', '{}', false, '{}', true, 'site')`)
		require.NoError(t, err)
		xid := value[uint64](t, conn, `select pg_current_xact_id()::text::bigint`)
		assert.Equal(t, xid, value[uint64](t, conn, `select xid::text::bigint from fedsender.source_activity`), "its own row")
		execute(t, conn, `commit`)
		read, err := pg.ReadRange(t.Context(), conn, 0, 10, 10)
		require.NoError(t, err)
		require.Len(t, read, 1)
		assert.Equal(t, xid, read[0].XID)
		assert.Empty(t, read[0].FollowersOf)
		assert.True(t, read[0].AllInstances)
	})
}

func TestLemmySource_ReadsWhoFollowsFromWhere(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		community, instance, _ := follow(t, w, "one.example", "c")
		lone, err := w.LoneFan(ctx, instance, "one.example", "lone")
		require.NoError(t, err)
		require.NoError(t, w.Follow(ctx, lone, community.ID, true)) // pending, in a public community
		require.NoError(t, w.Exec(ctx, `
			insert into community (id, name, {ap_id}, local, public_key, inbox_url, instance_id)
			values (100, 'theirs', 'https://one.example/c/theirs', false, '', '', $1)`, instance))
		const remote = 100
		require.NoError(t, w.Follow(ctx, lone, remote, false))
		person, err := w.Person(ctx, "ann", lemmy.PKCS8)
		require.NoError(t, err)
		require.NoError(t, w.Follow(ctx, person.ID, community.ID, false))
		if w.Line == lemmy.V019 { // no release of it has the word
			require.NoError(t, w.Exec(ctx, `alter type community_visibility add value if not exists 'Private'`))
		}
		private, err := w.PrivateCommunity(ctx, "private")
		require.NoError(t, err)
		require.NoError(t, w.Follow(ctx, lone, private.ID, true))
		bare, err := w.InstanceWithoutSite(ctx, "Two.Example")
		require.NoError(t, err)

		followers, err := pg.ReadPairs(ctx, conn, []pg.Pair{
			{ActorID: int64(community.ID), InstanceID: instance}, {ActorID: int64(private.ID), InstanceID: instance}, {ActorID: int64(remote), InstanceID: instance}})
		require.NoError(t, err)
		shared := w.Line == lemmy.V10
		assert.ElementsMatch(t, []pg.Follower{
			{ActorID: int64(community.ID), InstanceID: instance, Inbox: "https://one.example/inbox", Shared: true},
			{ActorID: int64(community.ID), InstanceID: instance, Inbox: "https://one.example/u/lone/inbox", Shared: shared},
		}, followers)
		require.NoError(t, w.Follow(ctx, lone, private.ID, false))
		assert.Equal(t, 3, value[int](t, conn, `select count(*) from fedsender.source_follower`))

		instances, err := pg.ReadInstances(ctx, conn, []int32{instance, bare, 1, 0})
		require.NoError(t, err)
		require.Len(t, instances, 2, "the local one is none")
		assert.ElementsMatch(t, []string{"https://one.example/inbox", ""}, []string{instances[0].SharedInbox, instances[1].SharedInbox})
		assert.Equal(t, []string{"one.example", "two.example"}, column[string](t, conn, `select domain from fedsender.source_instance order by 1`))

		require.NoError(t, w.Allow(ctx, bare))
		require.NoError(t, w.Block(ctx, instance))
		assert.Equal(t, []string{"allow two.example", "block one.example"}, column[string](t, conn, `select list || ' ' || domain from fedsender.source_domain_list order by 1`))
		execute(t, conn, `update local_site set federation_enabled = false`)
		assert.Equal(t, []string{"allow ."}, column[string](t, conn, `select list || ' ' || domain from fedsender.source_domain_list`))
		assert.Equal(t, []string{"blocked", "blocked"}, column[string](t, conn, `select state from fedsender.instance_status`))
	})
}

func TestLemmySource_ChangesAreLoggedWhenTheyAreNews(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		community, instance, person := follow(t, w, "one.example", "c")
		require.EqualValues(t, []int32{1, 2, 1}, []int32{community.ID, instance, person})
		local, err := w.Person(ctx, "ann", lemmy.PKCS8)
		require.NoError(t, err)
		id, err := w.Send(ctx, lemmy.Activity{Name: "a", Actor: community})
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"followers", "followers", "instance instance=1", "instance instance=1", "instance instance=2", "instance instance=2",
			"follower actor=1 instance=2"}, changes(t, conn), "migrate and the first site make all be read anew")
		actor := func(a lemmy.Actor) string {
			return value[string](t, conn, `select 'actor actor=' || id from fedsender.source_actor where ap_id = $1`, a.APID)
		}
		pair := []string{"follower actor=1 instance=2"}
		left := []string{"actor=1 instance=2 https://one.example/inbox shared=t through=" + value[string](t, conn, `select $1::bigint::text`, id)}
		shared, sole := "shared_inbox_url", "inbox_url"
		if w.Line == lemmy.V10 {
			shared = "inbox_url"
		}
		do := func(sql string) func() error { return func() error { return w.Exec(ctx, sql) } }
		for _, step := range []struct {
			name          string
			act           func() error
			changes, left []string
		}{
			{"an unfollow", func() error { return w.Unfollow(ctx, person, 1) }, pair, left},
			{"a follow", func() error { return w.Follow(ctx, person, 1, true) }, pair, nil},
			{"its acceptance", func() error { return w.Follow(ctx, person, 1, false) }, pair, nil},
			{"the same again", func() error { return w.Follow(ctx, person, 1, false) }, nil, nil},
			{"one of our own people", func() error { return w.Follow(ctx, local.ID, 1, false) }, nil, nil},
			{"who unfollows", func() error { return w.Unfollow(ctx, local.ID, 1) }, nil, nil},
			{"a post is counted", do(`update community set description = 'x'`), nil, nil},
			{"a name", do(`update person set bio = 'x'`), nil, nil},
			{"a person's inbox", do(`update person set ` + shared + ` = 'https://one.example/inbox2' where not local`), pair, nil},
			{"the other one", do(`update person set ` + sole + ` = 'https://one.example/inbox' where not local`), pair, nil},
			{"a person's key", do(`update person set private_key = 'x' where local`), []string{actor(local)}, nil},
			{"a community's key", do(`update community set private_key = 'x'`), []string{actor(community)}, nil},
			{"the site's key", do(`update site set private_key = 'x' where instance_id = 1`), []string{actor(w.Site)}, nil},
			{"a shared inbox", do(`update site set inbox_url = 'https://one.example/new' where instance_id = 2`), []string{"instance instance=2", "instance instance=2"}, nil},
			{"a site's name", do(`update site set name = 'x'`), nil, nil},
			{"a version", do(`update instance set version = 'x'`), nil, nil},
			{"a sign of life", do(`update instance set {updated} = now() + interval '1 day' where id = 2`), []string{"instance instance=2"}, nil},
			{"one a second later", do(`update instance set {updated} = {updated} + interval '1 second' where id = 2`), nil, nil},
			{"a block", func() error { return w.Block(ctx, 2) }, []string{"list"}, nil},
			{"its end", do(`delete from federation_blocklist`), []string{"list"}, nil},
			{"an allowed one", func() error { return w.Allow(ctx, 2) }, []string{"list"}, nil},
			{"none", do(`truncate federation_allowlist`), []string{"list"}, nil},
			{"federation off", do(`update local_site set federation_enabled = false`), []string{"list"}, nil},
			{"a vote is counted", do(`update local_site set {updated} = now()`), nil, nil},
			{"an instance is gone", do(`delete from instance where id = 2`), []string{"instance instance=2", "instance instance=2", "list", "list", "followers"}, nil},
			{"activities of last week", do(`delete from sent_activity`), nil, nil},
		} {
			require.NoError(t, step.act(), step.name)
			assert.ElementsMatch(t, step.changes, changes(t, conn), step.name)
			assert.ElementsMatch(t, step.left, tombstones(t, conn), step.name)
		}
	})
}

// The plans of a trigger are kept and were made for its first statement's few rows.
func TestLemmySource_BigStatementsAfterSmallOnesTakeSeconds(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		follow(t, w, "one.example", "c")
		follows := map[lemmy.Line]string{lemmy.V019: "community_follower", lemmy.V10: "community_actions"}[w.Line]
		inbox := map[lemmy.Line]string{lemmy.V019: "shared_inbox_url", lemmy.V10: "inbox_url"}[w.Line]
		statements := []string{
			`update person set ` + inbox + ` = ` + inbox + ` || 'x' where not local`,
			`update person set private_key = 'x' where local`,
			`update community set private_key = 'x'`,
			`update site set inbox_url = inbox_url || 'x'`,
			`update instance set {updated} = now() + interval '2 days'`,
			`update ` + follows + ` set person_id = person_id`,
			`delete from ` + follows,
		}
		run := func() {
			deadline := time.Now().Add(60 * time.Second)
			for _, sql := range statements {
				require.NoError(t, w.Exec(t.Context(), sql))
				require.Less(t, time.Now(), deadline, sql)
			}
		}
		run()
		require.NoError(t, w.Fill(t.Context(), lemmy.Size{Instances: 500, Communities: 50, Followers: 50_000, Activities: 10}))
		run()
	})
}

func TestLemmySource_ANewInstanceBeginsWhereItCame(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		for _, name := range []string{"before 1", "before 2"} {
			_, err := w.Send(ctx, lemmy.Activity{Name: name, Actor: w.Site, AllInstances: true})
			require.NoError(t, err)
		}
		require.NoError(t, pg.PublishHorizon(ctx, conn, 1))
		instance, err := w.Instance(ctx, "one.example")
		require.NoError(t, err)
		_, err = w.Send(ctx, lemmy.Activity{Name: "after", Actor: w.Site, AllInstances: true})
		require.NoError(t, err)
		require.NoError(t, pg.PublishHorizon(ctx, conn, 3))
		assert.Zero(t, value[int](t, conn, `select count(*) from federation_queue_state`), "it is Lemmy's table: only who delivers writes it")

		// A row without an id has not begun.
		execute(t, conn, `insert into federation_queue_state (instance_id, fail_count) values ($1, 0)`, instance)
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{instance}))
		s := state(t, conn, instance)
		assert.EqualValues(t, 1, s.Cursor)
		activities, err := pg.ReadRange(ctx, conn, s.Cursor, 3, 10)
		require.NoError(t, err)
		require.Len(t, activities, 2)
		assert.True(t, s.Start.Older(&activities[0]))
		assert.False(t, s.Start.Older(&activities[1]))

		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{instance}))
		assert.EqualValues(t, 1, state(t, conn, instance).Cursor)
		execute(t, conn, `delete from federation_queue_state; delete from fedsender.instance_start`)
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{instance}))
		assert.EqualValues(t, 3, state(t, conn, instance).Cursor, "at the horizon where nobody saw it come")
	})
}

// A savepoint has a number of its own, which no snapshot names.
func TestLemmySource_WhatASavepointInsertsBesideANewInstanceIsNotOlder(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		writer := another(t, conn)
		execute(t, writer, `begin; select pg_current_xact_id(); savepoint one`)
		execute(t, writer, `insert into sent_activity (ap_id, data, sensitive, send_inboxes, send_all_instances, actor_type) values ('x', '{}', false, '{}', true, 'site')`)
		execute(t, conn, `select pg_current_xact_id()`) // so that the savepoint's is below what has ended
		instance, err := w.Instance(ctx, "one.example")
		require.NoError(t, err)
		_, err = w.Send(ctx, lemmy.Activity{Name: "last", Actor: w.Site}) // so that until_id is no excuse
		require.NoError(t, err)
		execute(t, conn, `update fedsender.instance_start set until_id = 2`)
		execute(t, writer, `commit`)
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{instance}))
		activities, err := pg.ReadRange(ctx, conn, 0, 1, 10)
		require.NoError(t, err)
		require.Len(t, activities, 1)
		assert.False(t, state(t, conn, instance).Start.Older(&activities[0]))
	})
}

func TestLemmySource_WritesLemmysCursorsWhereNobodyElseMovedThem(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		one, err := w.Instance(ctx, "one.example")
		require.NoError(t, err)
		two, err := w.Instance(ctx, "two.example")
		require.NoError(t, err)
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{one, two}))
		require.NoError(t, w.Exec(ctx, `update instance set {updated} = now() - interval '25 hours' where id = $1`, one))
		now := time.Now().Truncate(time.Microsecond)
		save := func(s pg.Saving) map[int32]bool {
			t.Helper()
			batch, saved, err := s.Batch()
			require.NoError(t, err)
			require.NoError(t, conn.SendBatch(ctx, batch).Close())
			return saved
		}
		saved := save(pg.Saving{
			Checkpoints: []pg.Checkpoint{{InstanceID: one, Cursor: 5, PublishedAt: &now, FailCount: 2, LastRetryAt: &now, LastSuccessAt: &now}},
			Passed:      pg.Passed{Cursor: 7, PublishedAt: &now, InstanceIDs: []int32{two}, Expected: []int64{0}},
		})
		assert.Equal(t, map[int32]bool{one: true, two: true}, saved)
		assert.Equal(t, []string{"2 5 2 t t", "3 7 0 f t"}, column[string](t, conn, w.SQL(`
			select concat_ws(' ', instance_id, last_successful_id, fail_count, {last_retry} is not null, {last_published} is not null)
			from federation_queue_state order by 1`)))
		assert.True(t, value[bool](t, conn, w.SQL(`select {updated} = $2 from instance where id = $1`), one, now), "Lemmy takes it for alive")
		assert.True(t, state(t, conn, one).LastSuccessAt.Equal(now))

		other := another(t, conn)
		execute(t, other, `begin; select from federation_queue_state where instance_id = `+strconv.Itoa(int(one))+` for update`)
		for _, health := range []string{"", `delete from fedsender.instance_health`} {
			execute(t, conn, health)
			assert.Equal(t, map[int32]bool{two: true}, save(pg.Saving{
				Checkpoints: []pg.Checkpoint{{InstanceID: one, Expected: 5, Cursor: 5}, {InstanceID: two, Expected: 7, Cursor: 7}},
			}))
			assert.Equal(t, map[int32]bool{two: true}, save(pg.Saving{
				Passed: pg.Passed{Cursor: 7, InstanceIDs: []int32{one, two}, Expected: []int64{5, 7}},
			}), "a row that somebody keeps locked holds up no other")
		}
		execute(t, other, `rollback`)

		execute(t, conn, `update federation_queue_state set last_successful_id = 100`)
		assert.Empty(t, save(pg.Saving{
			Checkpoints: []pg.Checkpoint{{InstanceID: one, Expected: 5, Cursor: 6}},
			Passed:      pg.Passed{Cursor: 200, InstanceIDs: []int32{two}, Expected: []int64{7}},
		}))
		assert.Equal(t, []int64{100, 100}, column[int64](t, conn, `select last_successful_id from federation_queue_state`))
	})
}

func TestLemmySource_IsControlledLikeAnyOther(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		community, one, _ := follow(t, w, "one.example", "c")
		two, err := w.Instance(ctx, "two.example")
		require.NoError(t, err)
		_, err = w.Instance(ctx, "three.example")
		require.NoError(t, err)
		id, err := w.Send(ctx, lemmy.Activity{Name: "a", Actor: community, FollowersOf: community, Inboxes: []string{"https://TWO.example/u/x/inbox"}})
		require.NoError(t, err)
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{one, two}))
		execute(t, conn, `truncate fedsender.change`)

		require.NoError(t, pg.Pause(ctx, conn, "one.example", time.Time{}))
		require.NoError(t, pg.Resume(ctx, conn, "one.example"))
		require.NoError(t, pg.RetryNow(ctx, conn, "one.example"))
		moved, err := pg.SkipToLatest(ctx, conn, "one.example")
		require.NoError(t, err)
		assert.Equal(t, id, moved)
		moved, err = pg.Replay(ctx, conn, "one.example", time.Now().Add(-time.Hour))
		require.NoError(t, err)
		assert.Equal(t, id, moved)
		moved, err = pg.SkipToLatest(ctx, conn, "three.example") // which has not begun
		require.NoError(t, err)
		assert.Zero(t, moved)
		assert.ElementsMatch(t, []string{"control instance=2", "control instance=2", "retry instance=2", "cursor instance=2", "cursor instance=2", "cursor instance=4"}, changes(t, conn))

		execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_id, reason) values ($1, null, 'no key'), ($1, $2, 'x')`, id, one)
		execute(t, conn, `select fedsender.retry_dead_letter(1)`)
		assert.ElementsMatch(t, []string{"redelivery instance=2", "redelivery instance=3"}, changes(t, conn), "whom it is for, and nobody else")
		execute(t, conn, `select fedsender.retry_dead_letter(2)`)
		redeliveries, err := pg.ReadRedeliveries(ctx, conn, []int32{one, two})
		require.NoError(t, err)
		assert.Len(t, redeliveries, 2)
		status, err := pg.InstanceStatusOf(ctx, conn, "one.example")
		require.NoError(t, err)
		assert.EqualValues(t, 1, status.Redeliveries)
		execute(t, conn, `truncate fedsender.redelivery`)
		execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_ids, reason) values ($1, int4multirange(int4range($2, $2, '[]')), 'no key')`, id, two)
		execute(t, conn, `select fedsender.retry_dead_letter(max(id)) from fedsender.dead_letter`)
		assert.Equal(t, []int32{two}, column[int32](t, conn, `select instance_id from fedsender.redelivery`), "who did not get it, and nobody else")

		_, err = pg.Enqueue(ctx, conn, pg.Enqueuing{APID: "x", Document: []byte(`{}`), ActorAPID: community.APID})
		require.ErrorContains(t, err, "Lemmy writes its activities itself")
		adopted, err := pg.Adopt(ctx, conn, id, []string{"new.example", "one.example"})
		require.NoError(t, err)
		require.Len(t, adopted, 1)
		_, err = pg.InstanceStatuses(ctx, conn, pg.InstanceStatusFilter{})
		require.NoError(t, err)
		_, err = pg.Summary(ctx, conn)
		require.NoError(t, err)
	})
}

func TestLemmySource_PruneLeavesActivitiesAndSweepsAfterInstances(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		ctx := t.Context()
		one, err := w.Instance(ctx, "one.example")
		require.NoError(t, err)
		_, err = w.Send(ctx, lemmy.Activity{Name: "old", Actor: w.Site, AllInstances: true})
		require.NoError(t, err)
		require.NoError(t, w.Exec(ctx, `update sent_activity set {published} = now() - interval '1 year'`))
		require.NoError(t, pg.BeginInstances(ctx, conn, []int32{one}))
		_, err = pg.SkipToLatest(ctx, conn, "one.example")
		require.NoError(t, err)
		execute(t, conn, `
			insert into fedsender.instance_health (instance_id) values ($1);`, one)
		execute(t, conn, `insert into fedsender.instance_control (instance_id) values ($1)`, one)
		execute(t, conn, `insert into fedsender.dead_letter (activity_id, instance_id, reason) values (1, $1, 'x'), (1, null, 'x')`, one)
		execute(t, conn, `insert into fedsender.redelivery (instance_id, activity_id, inbox) values ($1, 1, '')`, one)
		lowest, deleted, err := pg.Prune(ctx, conn, time.Hour)
		require.NoError(t, err)
		assert.EqualValues(t, 1, lowest)
		assert.Zero(t, deleted)
		const rows = `
			select (select count(*) from sent_activity) * 1000 + (select count(*) from fedsender.dead_letter) * 100
			  + (select count(*) from fedsender.instance_health) + (select count(*) from fedsender.instance_control) + (select count(*) from fedsender.redelivery)`
		assert.Equal(t, 1203, value[int](t, conn, rows))

		require.NoError(t, w.Exec(ctx, `delete from sent_activity`)) // as Lemmy does after a week
		_, _, err = pg.Prune(ctx, conn, time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 203, value[int](t, conn, rows), "a sender makes a dead letter of it, prune does not")

		execute(t, conn, `delete from federation_queue_state`)
		execute(t, conn, `delete from instance where id = $1`, one)
		_, _, err = pg.Prune(ctx, conn, time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 100, value[int](t, conn, rows))
	})
}

// Functions with string bodies are put into the query only while they keep to certain rules; else each read would be one
// of the whole table.
func TestLemmySource_ReadsByIndex(t *testing.T) {
	withWorld(t, func(t *testing.T, w *lemmy.World, conn *pgx.Conn) {
		require.NoError(t, w.Fill(t.Context(), lemmy.Size{Instances: 3000, Communities: 200, Followers: 30_000, Activities: 30_000}))
		execute(t, conn, `select fedsender.begin_instances(array(select id from fedsender.source_instance)); `)
		execute(t, conn, `analyze`)
		follows := map[lemmy.Line]string{lemmy.V019: "community_follower", lemmy.V10: "community_actions"}[w.Line]
		for _, read := range []struct{ sql, index string }{
			{`select id, actor_id, published_at, send_inboxes, send_followers_of, send_all_instances, xid from fedsender.source_activity where id > 95000 and id <= 200000 order by id limit 1000`, "sent_activity_pkey"},
			{`select id, body from fedsender.source_activity where id = any ('{95001,95002}') order by id`, "sent_activity_pkey"},
			{`select coalesce(max(id), 0) from fedsender.source_activity`, "sent_activity_pkey"},
			{`select coalesce(max(id) - min(id) + 1, 0) from fedsender.source_activity`, "sent_activity_pkey"},
			{`select * from fedsender.actor_of(95001)`, "idx_community_lower_"},
			{`select * from fedsender.followers_of('{7}', '{9}')`, " on " + follows},
			{`select * from fedsender.source_instance where id = any ('{3,4}')`, "instance_pkey"},
			{`select * from fedsender.source_queue_state where instance_id = any ('{3,4}')`, "federation_queue_state_pkey"},
		} {
			plan := strings.Join(column[string](t, conn, `explain `+read.sql), "\n")
			assert.Contains(t, plan, read.index, "%s\n%s", read.sql, plan)
			for _, table := range []string{"sent_activity", follows, "person", "community"} {
				assert.NotRegexp(t, `Seq Scan on `+table+`\b`, plan, "%s\n%s", read.sql, plan)
			}
			assert.NotContains(t, plan, "Function Scan on read_", read.sql)
		}
	})
}
