package pg_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// onBothLines runs the test on a database with Lemmy's tables, of each line, and no schema fedsender.
func onBothLines(t *testing.T, test func(t *testing.T, line lemmy.Line, conn *pgx.Conn)) {
	t.Helper()
	for _, line := range lemmy.Lines {
		t.Run(string(line), func(t *testing.T) {
			conn := admin(t, postgres.Database(t))
			require.NoError(t, lemmy.Create(t.Context(), conn, line))
			test(t, line, conn)
		})
	}
}

// world fills Lemmy's tables with a site, some instances and who follows what.
func world(t *testing.T, line lemmy.Line, conn *pgx.Conn) *lemmy.World {
	t.Helper()
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, conn.Config().ConnString())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	w, err := lemmy.NewWorld(ctx, pool, line)
	require.NoError(t, err)
	return w
}

func TestMigrate_FindsLemmysTablesAndWhichLineTheyAreOf(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		before := catalog(t, conn)
		planned := migrate(t, conn, pg.MigrateOptions{DryRun: true})
		requireSame(t, before, catalog(t, conn))
		done := migrate(t, conn, pg.MigrateOptions{})
		assert.Equal(t, "lemmy", done.Source)
		assert.Equal(t, string(line), done.Variant)
		assert.Equal(t, planned.Steps, done.Steps)
		assert.Empty(t, done.Silent)
		require.NoError(t, pg.CheckSchema(t.Context(), conn))
		assert.Equal(t, string(line)+" "+string(line)+" t {}",
			value[string](t, conn, `select concat_ws(' ', variant, variant_now, rings, silent_tables) from fedsender.source`))

		full := catalog(t, conn)
		reader := another(t, conn)
		execute(t, reader, `begin; lock table public.sent_activity, public.person in access share mode`)
		execute(t, conn, `set lock_timeout = '1s'`)
		again := migrate(t, conn, pg.MigrateOptions{Source: "lemmy"})
		assert.Empty(t, again.Steps)
		requireSame(t, full, catalog(t, conn))
	})
}

func TestMigrate_AllThatIsMadeOnLemmysTablesHasAComment(t *testing.T) {
	onBothLines(t, func(t *testing.T, _ lemmy.Line, conn *pgx.Conn) {
		migrate(t, conn, pg.MigrateOptions{})
		assert.Empty(t, column[string](t, conn, `
			select c.relname || '.' || coalesce(a.attname, '')
			from pg_class c
			left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
			where c.relnamespace = 'fedsender'::regnamespace and c.relkind in ('r', 'v') and c.relname <> 'schema_version'
			  and (coalesce(obj_description(c.oid, 'pg_class'), '') = '' or coalesce(col_description(c.oid, a.attnum), '') = '')`))
		assert.Empty(t, column[string](t, conn, `
			select proname from pg_proc
			where pronamespace = 'fedsender'::regnamespace and prorettype <> 'trigger'::regtype and proname <> 'ring_change'
			  and coalesce(obj_description(oid, 'pg_proc'), '') = ''`))
	})
}

// What the program reads and calls must be there whatever the source: names, columns, arguments.
func TestMigrate_LemmyHasAllThatNativeHas(t *testing.T) {
	const shape = `
		select format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
		from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where c.relnamespace = 'fedsender'::regnamespace and c.relkind in ('r', 'v')
		  and c.relname not in ('actor', 'instance', 'follower', 'activity', 'domain_allow', 'domain_block', 'queue_state')
		union all
		select format('%s(%s) %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
		from pg_proc p where p.pronamespace = 'fedsender'::regnamespace and p.prorettype <> 'trigger'::regtype`
	native := column[string](t, migrated(t), shape)
	onBothLines(t, func(t *testing.T, _ lemmy.Line, conn *pgx.Conn) {
		migrate(t, conn, pg.MigrateOptions{})
		assert.Subset(t, column[string](t, conn, shape), native)
	})
}

func TestMigrate_DownLeavesNoTraceOnLemmysTables(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		empty := catalog(t, conn)
		migrate(t, conn, pg.MigrateOptions{})
		full := catalog(t, conn)
		require.Positive(t, value[int](t, conn, `select count(*) from pg_trigger where tgname like 'fedsender%'`))
		world(t, line, conn)

		planned := migrate(t, conn, pg.MigrateOptions{Down: true, DryRun: true})
		requireSame(t, full, catalog(t, conn))
		done := migrate(t, conn, pg.MigrateOptions{Down: true})
		assert.Equal(t, planned.Steps, done.Steps)
		requireSame(t, empty, catalog(t, conn))
		migrate(t, conn, pg.MigrateOptions{})
		requireSame(t, full, catalog(t, conn))
	})
}

func TestMigrate_DownOfLemmyStopsWhileProcessesDeliver(t *testing.T) {
	onBothLines(t, func(t *testing.T, _ lemmy.Line, conn *pgx.Conn) {
		migrate(t, conn, pg.MigrateOptions{})
		full := catalog(t, conn)
		session := openLeaseSession(t, conn.Config(), "abc")
		_, err := session.Lock(t.Context(), []int32{7})
		require.NoError(t, err)
		_, err = pg.Migrate(t.Context(), conn, pg.MigrateOptions{Down: true})
		require.ErrorIs(t, err, pg.ErrInUse)
		requireSame(t, full, catalog(t, conn))
	})
}

func TestMigrate_FollowsLemmyFromOneLineToTheNext(t *testing.T) {
	ours := func(conn *pgx.Conn) []string {
		return slices.DeleteFunc(catalog(t, conn), func(line string) bool { return !strings.Contains(line, "fedsender") })
	}
	fresh := admin(t, postgres.Database(t))
	require.NoError(t, lemmy.Create(t.Context(), fresh, lemmy.V10))
	migrate(t, fresh, pg.MigrateOptions{})

	conn := admin(t, postgres.Database(t))
	require.NoError(t, lemmy.Create(t.Context(), conn, lemmy.V019))
	w := world(t, lemmy.V019, conn)
	migrate(t, conn, pg.MigrateOptions{})
	follow(t, w, "one.example", "c")
	pairs := []pg.Pair{{ActorID: 1, InstanceID: 2}}
	followers, err := pg.ReadPairs(t.Context(), conn, pairs)
	require.NoError(t, err)
	require.Len(t, followers, 1)
	execute(t, conn, `truncate fedsender.change; grant select on fedsender.source_activity to pg_monitor`)

	require.NoError(t, lemmy.Upgrade(t.Context(), conn), "with triggers and views of the line before")
	err = pg.CheckSchema(t.Context(), conn)
	require.ErrorIs(t, err, pg.ErrSchemaOlder)
	require.EqualError(t, err, "the tables of the application have changed (made for 0.19, found 1.0); run: sender migrate")
	report := migrate(t, conn, pg.MigrateOptions{})
	assert.Equal(t, "1.0", report.Variant)
	require.NoError(t, pg.CheckSchema(t.Context(), conn))
	again, err := pg.ReadPairs(t.Context(), conn, pairs)
	require.NoError(t, err)
	assert.Equal(t, followers, again)
	assert.Contains(t, changes(t, conn), "followers", "all is to be read anew")
	assert.True(t, value[bool](t, conn, `select has_table_privilege('pg_monitor', 'fedsender.source_activity', 'select')`))
	execute(t, conn, `revoke select on fedsender.source_activity from pg_monitor`)
	requireSame(t, withoutGrants(ours(fresh)), withoutGrants(ours(conn)))
}

// withoutGrants: a relation that ever had a grant lists its owner's from then on.
func withoutGrants(lines []string) []string {
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(strings.TrimSpace(line), " {")
	}
	return lines
}

// follow makes a remote person follow a local community; both are new, as is the instance.
func follow(t *testing.T, w *lemmy.World, domain, community string) (c lemmy.Actor, instance, person int32) {
	t.Helper()
	ctx := t.Context()
	c, err := w.Community(ctx, community, lemmy.PKCS8)
	require.NoError(t, err)
	instance, err = w.Instance(ctx, domain)
	require.NoError(t, err)
	person, err = w.Fan(ctx, instance, domain, "fan")
	require.NoError(t, err)
	require.NoError(t, w.Follow(ctx, person, c.ID, false))
	return c, instance, person
}

func TestMigrate_RefusesTablesThatAreOfNeitherLine(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		execute(t, conn, `alter table public.sent_activity rename ap_id to something`)
		_, err := pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
		require.ErrorIs(t, err, pg.ErrOtherSource)
		assert.Contains(t, err.Error(), "source lemmy is for the tables of 0.19 and 1.0, and this database has others: those of 0.19 but")
		assert.Contains(t, err.Error(), "those of "+string(line)+" but sent_activity.ap_id")
		assert.Zero(t, value[int](t, conn, `select count(*) from pg_namespace where nspname = 'fedsender'`))

		execute(t, conn, `alter table public.sent_activity rename something to ap_id`)
		migrate(t, conn, pg.MigrateOptions{})
		execute(t, conn, `alter table public.sent_activity rename ap_id to something`)
		err = pg.CheckSchema(t.Context(), conn)
		require.ErrorIs(t, err, pg.ErrSchemaNewer)
		assert.Contains(t, err.Error(), "found those of 0.19 but")
		migrate(t, conn, pg.MigrateOptions{Down: true})
	})
}

// Interrupted where it hurts most: after the tables, before what tells whose they are.
func TestMigrate_GoesOnWhereItWasInterrupted(t *testing.T) {
	onBothLines(t, func(t *testing.T, _ lemmy.Line, conn *pgx.Conn) {
		reference := func() []string { migrate(t, conn, pg.MigrateOptions{}); return catalog(t, conn) }
		full := reference()
		migrate(t, conn, pg.MigrateOptions{Down: true})
		execute(t, conn, `create function public.break() returns event_trigger language plpgsql as $$ begin raise 'broken'; end $$;
			create event trigger breaks on ddl_command_start when tag in ('CREATE PROCEDURE') execute function public.break()`)
		_, err := pg.Migrate(t.Context(), conn, pg.MigrateOptions{})
		require.ErrorContains(t, err, "broken")
		err = pg.CheckSchema(t.Context(), conn)
		require.ErrorIs(t, err, pg.ErrSchemaOlder)
		assert.Contains(t, err.Error(), "not finished; run: sender migrate")
		execute(t, conn, `drop event trigger breaks; drop function public.break`)
		requireSame(t, full, reference())
	})
}

// Every column of Lemmy's tables is renamed, dropped and retyped, every table renamed and dropped, and rows are written
// afterwards: each statement must end as it does where schema fedsender is not.
func TestMigrate_LemmysOwnMigrationsMeetNothingOfThis(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		plain := admin(t, postgres.Database(t))
		require.NoError(t, lemmy.Create(t.Context(), plain, line))
		migrate(t, conn, pg.MigrateOptions{})
		for _, c := range []*pgx.Conn{plain, conn} {
			w := world(t, line, c)
			community, instance, _ := follow(t, w, "one.example", "c")
			require.NoError(t, w.Block(t.Context(), instance))
			_, err := w.Send(t.Context(), lemmy.Activity{Name: "a", Actor: community, FollowersOf: community})
			require.NoError(t, err)
		}
		statements := 0
		for _, table := range column[string](t, plain, `select tablename from pg_tables where schemaname = 'public' order by 1`) {
			ddl := []string{`alter table public.` + table + ` rename to other`, `drop table public.` + table + ` cascade`, `truncate public.` + table + ` cascade`}
			for _, c := range column[string](t, plain, `
				select attname from pg_attribute where attrelid = ('public.' || $1)::regclass and attnum > 0 order by attnum`, table) {
				ddl = append(ddl,
					fmt.Sprintf(`alter table public.%s rename %s to other`, table, c),
					fmt.Sprintf(`alter table public.%s drop column %s cascade`, table, c),
					fmt.Sprintf(`alter table public.%s alter %s drop default, alter %[2]s type text using %[2]s::text`, table, c))
			}
			for _, statement := range ddl {
				statements++
				want, got := outcome(t, plain, table, statement), outcome(t, conn, table, statement)
				require.Equal(t, want, got, statement)
			}
		}
		require.Greater(t, statements, 150)
	})
}

// outcome runs the statement and then writes rows, in a transaction that is given up, and returns what the server said to each.
func outcome(t *testing.T, conn *pgx.Conn, table, statement string) (said []string) {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	run := func(sql string) {
		nested, err := tx.Begin(ctx)
		require.NoError(t, err)
		tag, err := nested.Exec(ctx, sql)
		var server *pgconn.PgError
		if errors.As(err, &server) {
			said = append(said, server.Message)
			require.NoError(t, nested.Rollback(ctx))
			return
		}
		require.NoError(t, err)
		said = append(said, tag.String())
		require.NoError(t, nested.Commit(ctx))
	}
	run(statement)
	rows, err := tx.Query(ctx, `
		select format('update public.%1$I set %2$I = %2$I', c.relname, a.attname), format('delete from public.%I', c.relname)
		from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attnum = (
		  select max(l.attnum) from pg_attribute l where l.attrelid = c.oid and not l.attisdropped)
		where c.relnamespace = 'public'::regnamespace and c.relname in ($1, 'other')`, table)
	require.NoError(t, err)
	writes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w [2]string, err error) { return w, row.Scan(&w[0], &w[1]) })
	require.NoError(t, err)
	for _, write := range writes {
		run(write[0])
		run(write[1])
	}
	return said
}

// Where the role may only read Lemmy's tables, everything is there but the triggers.
func TestMigrate_WithoutTheRightToMakeTriggersSaysSoAndPolls(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, owner *pgx.Conn) {
		w := world(t, line, owner)
		community, _, _ := follow(t, w, "one.example", "c")
		for range 3 {
			_, err := w.Send(t.Context(), lemmy.Activity{Name: value[string](t, owner, `select gen_random_uuid()::text`), Actor: community})
			require.NoError(t, err)
		}
		execute(t, owner, `delete from public.sent_activity where id = 1`)
		conn := role(t, owner, "sender")
		name := conn.Config().User
		execute(t, owner, `grant create on database `+owner.Config().Database+` to `+name+`;
			grant select on all tables in schema public to `+name)
		empty := catalog(t, owner)
		for range 2 {
			report := migrate(t, conn, pg.MigrateOptions{})
			assert.Len(t, report.Silent, 9)
			assert.Contains(t, report.Silent, "public.sent_activity")
		}
		require.NoError(t, pg.CheckSchema(t.Context(), conn))
		assert.Equal(t, "f 9 3", bell(t, conn), "the feed begins at the newest activity")

		execute(t, owner, `grant trigger on all tables in schema public to `+name)
		assert.Empty(t, migrate(t, conn, pg.MigrateOptions{}).Silent)
		assert.Equal(t, "t 0 3", bell(t, conn))
		execute(t, owner, `revoke trigger on all tables in schema public from `+name)
		execute(t, owner, `delete from public.sent_activity`) // with a trigger whose owner has no right to it any more
		migrate(t, conn, pg.MigrateOptions{Down: true})
		requireSame(t, withoutGrants(empty), withoutGrants(catalog(t, owner)))
	})
}

// bell says whether triggers ring, how many tables lack some, and where the feed begins.
func bell(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return value[string](t, conn, `select concat_ws(' ', rings, cardinality(silent_tables), (select horizon from fedsender.feed)) from fedsender.source`)
}

// Without triggers there is no lock to wait for; who writes is waited for by name, prepared or not.
func TestMigrate_WithoutTriggersTheFeedBeginsWhereNoIdCanAppearAnyMore(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{"max_prepared_transactions": "2"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	for _, line := range lemmy.Lines {
		t.Run(string(line), func(t *testing.T) {
			ctx := t.Context()
			url, err := server.CreateDatabase(ctx, "lemmy"+strings.ReplaceAll(string(line), ".", ""))
			require.NoError(t, err)
			owner, err := pgx.Connect(ctx, url)
			require.NoError(t, err)
			defer func() { _ = owner.Close(context.WithoutCancel(ctx)) }()
			require.NoError(t, lemmy.Create(ctx, owner, line))
			w := world(t, line, owner)
			community, _, _ := follow(t, w, "one.example", "c")
			send := func(name string) string {
				return fmt.Sprintf(`insert into public.sent_activity (ap_id, data, sensitive, send_inboxes, send_all_instances, actor_type, actor_apub_id)
					values ('%s', '{}', false, '{}', false, 'community', '%s')`, name, community.APID)
			}
			open, prepared, reader := another(t, owner), another(t, owner), another(t, owner)
			execute(t, reader, `begin; select * from public.sent_activity`) // holds up nobody
			execute(t, open, `begin; `+send("open"))
			execute(t, prepared, `begin; `+send("prepared"))
			execute(t, owner, send("early"))
			conn := role(t, owner, "sender")
			name := conn.Config().User
			execute(t, owner, `grant create on database `+owner.Config().Database+` to `+name+`; grant select on all tables in schema public to `+name)
			done := make(chan error, 1)
			go func() { _, err := pg.Migrate(ctx, conn, pg.MigrateOptions{}); done <- err }()
			horizon := func() int64 { return value[int64](t, owner, `select horizon from fedsender.feed`) }
			require.Eventually(t, func() bool {
				return len(done) > 0 || value[bool](t, owner, `select exists (select from pg_stat_activity where usename = $1 and wait_event = 'PgSleep')`, name)
			}, 60*time.Second, 10*time.Millisecond)
			require.Empty(t, done, "it waits for nobody")
			execute(t, prepared, `prepare transaction 'x'`)
			execute(t, open, `commit`)
			for range 3 { // it sees that both sessions have ended theirs, and that one goes on
				const look = `select max(xact_start) from pg_stat_activity where usename = $1 having max(xact_start) > $2`
				after := value[time.Time](t, owner, `select clock_timestamp()`)
				require.Eventually(t, func() bool {
					return value[bool](t, owner, `select exists (`+look+`)`, name, after)
				}, 20*time.Second, 10*time.Millisecond)
			}
			require.Equal(t, int64(0), horizon(), "a prepared transaction may still commit below")
			execute(t, owner, `commit prepared 'x'`)
			require.NoError(t, <-done)
			require.Equal(t, int64(3), horizon())
		})
	}
}

// The lock that making a trigger takes waits for who writes, so what is visible then is all.
func TestMigrate_TheFeedBeginsWhereNoIdCanAppearAnyMore(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line, conn *pgx.Conn) {
		w := world(t, line, conn)
		community, _, _ := follow(t, w, "one.example", "c")
		id, commit, err := w.SendLate(t.Context(), lemmy.Activity{Name: "late", Actor: community})
		require.NoError(t, err)
		last, err := w.Send(t.Context(), lemmy.Activity{Name: "early", Actor: community})
		require.NoError(t, err)
		require.Greater(t, last, id)
		done := make(chan error, 1)
		other := another(t, conn)
		go func() { _, err := pg.Migrate(t.Context(), other, pg.MigrateOptions{}); done <- err }()
		require.Eventually(t, func() bool {
			return value[bool](t, conn, `select exists (select from pg_locks where not granted and relation = 'public.sent_activity'::regclass)`)
		}, 20*time.Second, 10*time.Millisecond)
		require.NoError(t, commit())
		require.NoError(t, <-done)
		assert.Equal(t, last, value[int64](t, conn, `select horizon from fedsender.feed`))
	})
}
