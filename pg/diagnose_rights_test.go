package pg_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// work does what a process does in the database, in a transaction that is taken back, and returns the first error.
func work(ctx context.Context, conn *pgx.Conn) error {
	if err := pg.Load(ctx, conn, func(*pg.Loaded) {}); err != nil {
		return err
	}
	nothing, err := pg.ParseSnapshot("1:1:")
	if err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	ids, success := []int32{1}, time.Now()
	for _, step := range []func() error{
		func() error { return pg.CheckSchema(ctx, tx) },
		func() error { _, err := pg.ReadSource(ctx, tx); return err },
		func() error { return pg.Arm(ctx, tx) },
		func() error { return pg.Disarm(ctx, tx) },
		func() error {
			feed, err := pg.NewFeed(ctx, conn, pg.Source{ActivityTable: "fedsender.activity"}, nothing, quiet())
			if err == nil {
				_, err = feed.Read(ctx)
			}
			return err
		},
		func() error { _, err := pg.ReadTombstones(ctx, tx, nothing); return err },
		func() error { _, err := pg.ReadRange(ctx, tx, 0, 9, 9); return err },
		func() error { _, err := pg.ReadActivities(ctx, tx, []int64{1}); return err },
		func() error { _, err := pg.ReadInstances(ctx, tx, ids); return err },
		func() error { _, err := pg.ReadPairs(ctx, tx, []pg.Pair{{ActorID: 1, InstanceID: 1}}); return err },
		func() error { _, _, err := pg.ReadLists(ctx, tx); return err },
		func() error { _, _, err := pg.ReadActor(ctx, tx, 1); return err }, // of activity 1
		func() error { _, err := pg.ReadQueueStates(ctx, tx, ids); return err },
		func() error { _, err := pg.ReadRedeliveries(ctx, tx, ids); return err },
		func() error { return pg.BeginInstances(ctx, tx, ids) },
		func() error { _, err := pg.Adopt(ctx, tx, 1, []string{"new.example"}); return err },
		func() error { return pg.PublishHorizon(ctx, tx, 5) },
		func() error { return pg.WriteProcess(ctx, tx, pg.Process{ID: "x"}) },
		func() error { _, err := pg.ProcessLoads(ctx, tx, []string{"x"}); return err },
		func() error { return pg.DeleteProcess(ctx, tx, "x") },
		func() error { _, err := pg.ReadBalance(ctx, tx); return err },
		func() error {
			_, err := pg.WriteBalance(ctx, tx, pg.Balance{Version: 1, Weights: []byte("{}")})
			return err
		},
		func() error { return pg.NoteDemand(ctx, tx) },
		func() error { return pg.AddHistory(ctx, tx, pg.Outcomes{Delivered: 1}, time.Second) },
		func() error { _, _, err := pg.Gauges(ctx, tx); return err },
		func() error { _, err := pg.Summary(ctx, tx); return err },
		func() error { _, err := pg.Processes(ctx, tx); return err },
		func() error {
			_, err := pg.InstanceStatuses(ctx, tx, pg.InstanceStatusFilter{NoHolder: true})
			return err
		},
		func() error {
			batch, _, err := (&pg.Saving{
				Checkpoints: []pg.Checkpoint{{InstanceID: 1, Cursor: 4, LastSuccessAt: &success}},
				Passed:      pg.Passed{InstanceIDs: []int32{2}, Expected: []int64{0}, Cursor: 4},
				Letters:     []pg.Letter{{ActivityID: 1, InstanceID: 1, Reason: "x"}},
				Redelivered: []pg.Redelivery{{InstanceID: 1, ActivityID: 1}},
			}).Batch()
			if err != nil {
				return err
			}
			return tx.SendBatch(ctx, batch).Close()
		},
		func() error { _, _, err := pg.Prune(ctx, tx, time.Hour); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func TestDiagnose_NamesEachPrivilegeThatAProcessLacks(t *testing.T) {
	owner := withFollowers(t)
	execute(t, owner, `update fedsender.sweep set at = 'epoch'`) // for prune to have something to do
	conn := role(t, owner, "sender")
	grant(t, owner, conn, senderGrants)
	name := conn.Config().User
	execute(t, owner, `revoke execute on all functions in schema fedsender from public; grant execute on all functions in schema fedsender to `+name)
	ctx := t.Context()
	rights := func() pg.Finding {
		found := finding(t, conn.Config(), "rights")
		require.Len(t, found, 1)
		return found[0]
	}
	require.NoError(t, work(ctx, conn))
	require.Equal(t, pg.OK, rights().Verdict, rights().Says)

	type privilege struct{ name, on, said string }
	var all []privilege
	for _, table := range column[string](t, owner, `
		select c.relname from pg_class c where c.relnamespace = 'fedsender'::regnamespace and c.relkind in ('r', 'v') order by 1`) {
		for _, p := range []string{"select", "insert", "update", "delete"} {
			all = append(all, privilege{p, "fedsender." + table, p + " on fedsender." + table})
		}
	}
	for _, function := range column[string](t, owner, `
		select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'fedsender'::regnamespace and p.prorettype <> 'trigger'::regtype order by 1`) {
		all = append(all, privilege{"execute", "function " + function, "execute on function " + function})
	}
	all = append(all, privilege{"usage", "schema fedsender", "usage on schema fedsender"})
	needed := 0
	for _, p := range all {
		execute(t, owner, `revoke `+p.name+` on `+p.on+` from `+name)
		if err := work(ctx, conn); err != nil {
			needed++
			f := rights()
			assert.Equal(t, pg.Bad, f.Verdict, "%s: %s", p.said, err)
			assert.Contains(t, f.Says, p.said)
		} else {
			f := rights()
			assert.NotContains(t, f.Says+";", p.said+";", "a process can do without")
		}
		execute(t, owner, `grant `+p.name+` on `+p.on+` to `+name)
	}
	require.Greater(t, needed, 50)
}

func TestDiagnose_SchemaThatCannotBeLookedAtIsNotOneToMigrate(t *testing.T) {
	owner := migrated(t)
	conn := role(t, owner, "sender")
	grant(t, owner, conn, senderGrants)
	execute(t, owner, `revoke select on fedsender.schema_version from `+conn.Config().User)
	found := finding(t, conn.Config(), "schema")
	require.Len(t, found, 1)
	require.Equal(t, pg.Bad, found[0].Verdict)
	require.NotContains(t, found[0].Mend, "migrate")
	require.Contains(t, finding(t, conn.Config(), "rights")[0].Says, "select on fedsender.schema_version")
}

func TestDiagnose_GoesOnAfterACheckThatDoesNotEnd(t *testing.T) {
	owner := migrated(t)
	execute(t, owner, `set application_name = 'psql'`)
	execute(t, owner, `begin; lock table fedsender.schema_version in access exclusive mode`)
	defer execute(t, owner, `rollback`)
	conn := owner.Config().Copy()
	var schema, server, last pg.Finding
	for _, f := range pg.Diagnose(t.Context(), conn, conn, pg.Outside{}) {
		switch f.What {
		case "schema":
			schema = f
		case "server":
			server = f
		}
		last = f
	}
	require.Equal(t, pg.OK, server.Verdict)
	require.Equal(t, pg.Bad, schema.Verdict)
	require.Contains(t, schema.Says, "no answer in time: pid ")
	require.Contains(t, schema.Says, "(psql, role postgres) holds up fedsender.schema_version (AccessExclusiveLock)")
	require.Contains(t, schema.Mend, "select pg_terminate_backend(")
	require.True(t, strings.HasPrefix(last.What, "lease "), "all that can be checked is: %v", last)
}
