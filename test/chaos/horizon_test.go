package chaos

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestNothingIsLostHoweverTheWritersBehave(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), postgres.Database(t), fediverse.Config{}, spread{actors: 200, instances: 200, hot: 1, most: 3})
	r.startHolding(ctx, 4, 4)
	report, err := r.DB.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(ctx)) }()
	count := `select count(*) from fedsender.activity`
	if _, err := report.Exec(ctx, count); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	const writers = 20
	committed := writeWildly(ctx, r, writers, pick(1_500, 50_000)/writers)
	t.Logf("%d writers committed %d activities in %s", writers, committed, time.Since(began).Round(time.Second))
	verdict := r.finish(ctx)
	t.Logf("delivered to %d inboxes after %s", verdict.Delivered, time.Since(began).Round(time.Second))
	if verdict.Twice > 0 {
		t.Errorf("%d duplicates though nobody was harmed: %v", verdict.Twice, verdict.Examples)
	}
	r.checkOverlaps()
	var there, rolledBack int
	if err := r.DB.QueryRow(ctx, `select count(*), max(id) - count(*) from fedsender.activity`).Scan(&there, &rolledBack); err != nil {
		t.Fatal(err)
	}
	if there != committed {
		t.Errorf("the writers committed %d activities and %d are there", committed, there)
	}
	t.Logf("%d ids were drawn and never committed", rolledBack)
	if _, err := report.Exec(ctx, count); err != nil {
		t.Errorf("the report did not stay open: %v", err)
	}
}

// writeWildly has every writer commit so many activities, and returns how many that were in all.
func writeWildly(ctx context.Context, r *rig, writers, each int) int {
	r.t.Helper()
	r.t.Logf("FEDSENDER_CHAOS_SEED=%d", seed())
	group := pool.NewWithResults[int]().WithErrors()
	for n := range writers {
		w := newWriter(n, r, seed(), wildWays)
		w.audience = audience{all: true, unknown: 10}
		group.Go(func() (int, error) {
			total := 0
			for total < each {
				committed, err := w.write(ctx)
				if total += committed; err != nil {
					return total, err
				}
			}
			return total, nil
		})
	}
	results, err := group.Wait()
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0
	for _, n := range results {
		total += n
	}
	return total
}

// Without the horizon a gap is taken for a hole: who commits after a later id was read is lost. This shows that
// the ledger would tell.
func TestWithoutTheHorizonALateCommitIsLost(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, "nohorizon"), postgres.Database(t), fediverse.Config{}, spread{actors: 1, instances: 5, hot: 5, most: 1})
	r.startHolding(ctx, 2, 2)
	w := newWriter(0, r, 1, nil)
	next := func() row {
		w.begin()
		w.chain.inboxes, w.chain.followersOf = []string{}, r.world.Actors
		return w.rows(1)[0]
	}
	late, err := r.writing.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := insert(ctx, late, []row{next()}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := insert(ctx, r.writing, []row{next()}); err != nil {
			t.Fatal(err)
		}
	}
	// A cursor that has passed the gap is what makes the loss final.
	if err := r.WaitSettled(ctx); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	after := next()
	if err := insert(ctx, r.writing, []row{after}); err != nil {
		t.Fatal(err)
	}
	expected, _ := r.expected(ctx)
	ledger := r.Fedi.Ledger()
	reached := func() (bool, error) {
		return ledger.Verdict(only(expected, after.id), nil).Lost == 0, nil
	}
	if err := fleet.Until(ctx, "what came after is delivered", reached); err != nil {
		t.Fatal(err)
	}
	r.stopAll(ctx)
	verdict := ledger.Verdict(expected, order)
	t.Log(verdict)
	if verdict.Lost == 0 {
		t.Error("nothing was lost without the horizon: the tests can't fail")
	}
}

// only keeps one activity of what is expected.
func only(expected fediverse.Expected, activity string) fediverse.Expected {
	kept := fediverse.Expected{}
	for inbox, activities := range expected {
		if _, ok := activities[activity]; ok {
			kept.Add(inbox, activity)
		}
	}
	return kept
}
