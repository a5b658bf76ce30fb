package pg_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// bells is a database with somebody who listens.
type bells struct{ conn, listener *pgx.Conn }

// TestBell is one test because the shared server can prepare transactions, and so never rings; starting another takes a second.
func TestBell(t *testing.T) {
	server := start(t, postgres.Options{})
	dsn, err := server.CreateDatabase(t.Context(), "bells")
	require.NoError(t, err)
	b := bells{conn: admin(t, dsn), listener: admin(t, dsn)}
	prepare(t, b.conn)
	execute(t, b.conn, `insert into fedsender.instance (domain) values ('one.example')`)
	execute(t, b.listener, `listen fedsender_activity`)
	execute(t, b.listener, `listen fedsender_change`)
	for _, test := range []struct {
		name string
		run  func(b bells, t *testing.T)
	}{
		{"rings when it is armed and not else", bells.ringsWhenItIsArmedAndNotElse},
		{"rings for whoever inserts after it was armed, whatever his snapshot", bells.ringsForOldSnapshots},
		{"rings for a statement during which it was armed", bells.ringsForAStatementUnderWay},
		{"arming that is rolled back costs a look at the row and rings for nobody", bells.armingIsRolledBack},
		{"disarming that is rolled back leaves it armed", bells.disarmingIsRolledBack},
		{"disarming while another arms leaves it armed", bells.disarmingMeetsArming},
		{"arming again mends a sequence that says the contrary", bells.armingMends},
		{"a sequence that was set anew has the row read", bells.sequenceWasSetAnew},
		{"the sequence can't be dropped", bells.sequenceStays},
		{"an armed row is read, whoever arms, disarms and rolls back at once", bells.manyAtOnce},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(b, t) })
	}
}

// heard returns what was rung until now.
func (b bells) heard(t *testing.T) (channels []string) {
	t.Helper()
	execute(t, b.conn, `select pg_notify('fedsender_change', 'end')`)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		n, err := b.listener.WaitForNotification(ctx)
		cancel()
		require.NoError(t, err)
		if n.Payload == "end" {
			return channels
		}
		channels = append(channels, n.Channel)
	}
}

func (b bells) ringsFor(t *testing.T, conn *pgx.Conn, sql string) bool {
	t.Helper()
	execute(t, conn, sql)
	return len(b.heard(t)) > 0
}

func allAwake(t *testing.T, conn *pgx.Conn) bool {
	t.Helper()
	return value[bool](t, conn, `select fedsender.all_awake()`)
}

func (b bells) arm(t *testing.T) {
	t.Helper()
	require.NoError(t, pg.Arm(t.Context(), b.conn))
	require.False(t, allAwake(t, b.conn))
}

func (b bells) disarm(t *testing.T) {
	t.Helper()
	require.NoError(t, pg.Disarm(t.Context(), b.conn))
	require.True(t, allAwake(t, b.conn))
}

var activityRings = []string{"fedsender_activity"}

func (b bells) ringsWhenItIsArmedAndNotElse(t *testing.T) {
	require.True(t, allAwake(t, b.conn), "as it was made")
	for _, step := range []struct {
		name, sql string
		want      []string
	}{
		{"not armed", insertOne, nil},
		{"not armed, a snapshot that may be older", `begin isolation level repeatable read; ` + insertOne + `; commit`, nil},
		{"arming", `update fedsender.doorbell set armed = true`, nil},
		{"armed", insertOne, activityRings},
		{"many in one transaction", `begin; ` + strings.Repeat(insertOne+`;`, 10) + `commit`, activityRings},
		{"rolled back", `begin; ` + insertOne + `; rollback`, nil},
		{"retention", `delete from fedsender.activity`, nil},
		{"nothing followed", `delete from fedsender.follower`, nil},
		{"a follower", `insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox) values (1, 'x', 1, 'x')`, []string{"fedsender_change"}},
		{"an instance", `insert into fedsender.instance (domain) values ('two.example')`, []string{"fedsender_change"}},
		{"a list", `insert into fedsender.domain_block (domain) values ('x')`, []string{"fedsender_change"}},
		{"pause", `select fedsender.pause('one.example')`, []string{"fedsender_change"}},
		{"retry", `select fedsender.retry_now('one.example')`, []string{"fedsender_change"}},
		{"disarming once", `update fedsender.doorbell set armed = false`, nil},
		{"disarmed", insertOne, nil},
		{"nobody knows whether the row is what it was in this snapshot", `begin isolation level serializable; ` + insertOne + `; commit`, activityRings},
	} {
		execute(t, b.conn, step.sql)
		assert.Equal(t, step.want, b.heard(t), step.name)
	}
}

func (b bells) ringsForOldSnapshots(t *testing.T) {
	writer := another(t, b.conn)
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		b.disarm(t)
		execute(t, writer, `begin isolation level `+isolation)
		execute(t, writer, `select from fedsender.doorbell`)
		b.arm(t)
		assert.True(t, b.ringsFor(t, writer, insertOne+`; commit`), isolation)
	}
}

func (b bells) ringsForAStatementUnderWay(t *testing.T) {
	b.disarm(t)
	writer := another(t, b.conn)
	execute(t, b.conn, `select pg_advisory_lock(5)`)
	written := make(chan error, 1)
	go func() {
		_, err := writer.Exec(t.Context(), `
			insert into fedsender.activity (ap_id, data, actor_id)
			select 'slow', '{}', 1 from (select pg_advisory_xact_lock(5)) lock`)
		written <- err
	}()
	require.Eventually(t, func() bool {
		return value[bool](t, b.conn, `select exists (select from pg_locks where locktype = 'advisory' and not granted)`)
	}, 20*time.Second, time.Millisecond)
	b.arm(t)
	execute(t, b.conn, `select pg_advisory_unlock(5)`)
	require.NoError(t, <-written)
	assert.Equal(t, activityRings, b.heard(t))
}

func (b bells) armingIsRolledBack(t *testing.T) {
	b.disarm(t)
	execute(t, b.conn, `begin; update fedsender.doorbell set armed = true where not armed; rollback`)
	assert.False(t, allAwake(t, b.conn))
	assert.False(t, b.ringsFor(t, b.conn, insertOne))
	b.disarm(t)
}

func (b bells) disarmingIsRolledBack(t *testing.T) {
	const disarm = `update fedsender.doorbell set armed = false where armed;`
	for _, sql := range []string{
		`begin; ` + disarm + disarm + ` rollback`,
		`begin; savepoint s; ` + disarm + disarm + `rollback to s; ` + disarm + ` rollback`,
		`begin; savepoint s; ` + disarm + disarm + `rollback to s; commit`,
	} {
		b.arm(t)
		execute(t, b.conn, sql)
		assert.False(t, allAwake(t, b.conn), sql)
		assert.True(t, b.ringsFor(t, b.conn, insertOne), sql)
	}
}

func (b bells) disarmingMeetsArming(t *testing.T) {
	b.disarm(t)
	process := another(t, b.conn)
	execute(t, process, `begin; update fedsender.doorbell set armed = true where not armed`)
	require.NoError(t, pg.Disarm(t.Context(), b.conn), "it waits for nobody")
	execute(t, process, `commit`)
	assert.False(t, allAwake(t, b.conn))
	assert.True(t, b.ringsFor(t, b.conn, insertOne))
}

// armingMends: a dump may have the row of one moment and the sequence of another.
func (b bells) armingMends(t *testing.T) {
	b.arm(t)
	execute(t, b.conn, `select setval('fedsender.doorbell_awake_seq', 1)`)
	b.arm(t)
	assert.True(t, b.ringsFor(t, b.conn, insertOne))
}

func (b bells) sequenceWasSetAnew(t *testing.T) {
	for _, sql := range []string{
		`alter sequence fedsender.doorbell_awake_seq restart`,
		`truncate fedsender.doorbell restart identity; insert into fedsender.doorbell (armed) values (true)`,
		`delete from fedsender.doorbell; insert into fedsender.doorbell default values; update fedsender.doorbell set armed = true`,
		`insert into fedsender.doorbell default values on conflict do nothing`,
		`delete from fedsender.doorbell; select setval('fedsender.doorbell_awake_seq', 1);
			insert into fedsender.doorbell (armed, awake) overriding system value values (true, 1)`,
	} {
		b.arm(t)
		execute(t, b.conn, sql)
		assert.True(t, b.ringsFor(t, b.conn, insertOne), sql)
	}
}

func (b bells) sequenceStays(t *testing.T) {
	for _, sql := range []string{`drop sequence fedsender.doorbell_awake_seq`, `drop sequence fedsender.doorbell_awake_seq cascade`, `drop table fedsender.doorbell`} {
		_, err := b.conn.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "cannot drop", sql)
	}
	execute(t, b.conn, insertOne)
}

func (b bells) manyAtOnce(t *testing.T) {
	const rollBack = `begin; update fedsender.doorbell set armed = not armed; rollback`
	var processes sync.WaitGroup
	for range 4 {
		conn := another(t, b.conn)
		processes.Go(func() {
			for range 50 {
				var err error
				switch rand.N(3) {
				case 0:
					err = pg.Arm(t.Context(), conn)
				case 1:
					err = pg.Disarm(t.Context(), conn)
				case 2:
					_, err = conn.Exec(t.Context(), rollBack)
				}
				assert.NoError(t, err)
			}
		})
	}
	for range 100 {
		execute(t, b.conn, `begin`)
		if value[bool](t, b.conn, `select armed from fedsender.doorbell for share`) {
			assert.False(t, allAwake(t, b.conn))
		}
		execute(t, b.conn, `commit`)
	}
	processes.Wait()
}
