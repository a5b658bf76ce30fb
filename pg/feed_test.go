package pg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// feedBench is a migrated database with one actor, and what writers committed to it.
type feedBench struct {
	db    *pgxpool.Pool
	actor int64

	mu        sync.Mutex
	committed map[int64]bool
}

func newFeedBench(t *testing.T) *feedBench {
	t.Helper()
	url := postgres.Database(t, fleet.Migrate)
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 60
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // as the pool of a process
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	b := &feedBench{db: db, committed: map[int64]bool{}}
	err = db.QueryRow(t.Context(), `
		insert into fedsender.actor (ap_id, key_id) values ('https://home.example/u/a', 'k') returning id`).Scan(&b.actor)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *feedBench) feed(t *testing.T) *pg.Feed {
	t.Helper()
	source, err := pg.ReadSource(t.Context(), b.db)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := b.db.QueryRow(t.Context(), `select pg_current_snapshot()::text`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	snapshot, err := pg.ParseSnapshot(text)
	if err != nil {
		t.Fatal(err)
	}
	feed, err := pg.NewFeed(t.Context(), b.db, source, snapshot, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

const insertActivity = `
	insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
	select 'https://home.example/' || gen_random_uuid(), '{}', $1, true from generate_series(1, $2)
	returning id`

func (b *feedBench) insert(ctx context.Context, q pg.Querier, n int) ([]int64, error) {
	rows, err := q.Query(ctx, insertActivity, b.actor, n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (b *feedBench) note(ids []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.committed[id] = true
	}
}

// errBack makes a transaction roll back on purpose.
var errBack = errors.New("rolled back on purpose")

// write is one transaction of a kind that chance picks.
func (b *feedBench) write(ctx context.Context, r *rand.Rand) error {
	delay := time.Duration(r.IntN(60)) * time.Millisecond
	if r.IntN(20) == 0 {
		delay = time.Duration(r.IntN(700)) * time.Millisecond
	}
	kind := r.IntN(6)
	if kind == 5 {
		return b.writePrepared(ctx, r, delay)
	}
	var ids []int64
	err := pgx.BeginFunc(ctx, b.db, func(tx pgx.Tx) (err error) {
		if ids, err = b.insert(ctx, tx, 1+r.IntN(3)); err != nil {
			return err
		}
		switch kind {
		case 1: // a savepoint that is rolled back leaves holes in a transaction that commits
			err = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
				if _, err := b.insert(ctx, inner, 2); err != nil {
					return err
				}
				return errBack
			})
			if !errors.Is(err, errBack) {
				return err
			}
			more, err := b.insert(ctx, tx, 1)
			if err != nil {
				return err
			}
			ids = append(ids, more...)
		case 2:
			wait(ctx, delay)
			return errBack
		case 3: // COPY draws ids before it has a transaction id
			return b.copy(ctx, tx, &ids)
		}
		wait(ctx, delay)
		return nil
	})
	switch {
	case errors.Is(err, errBack):
		return nil
	case err != nil:
		return err
	}
	b.note(ids)
	return nil
}

func (b *feedBench) copy(ctx context.Context, tx pgx.Tx, ids *[]int64) error {
	name := fmt.Sprintf("https://home.example/copy/%d", rand.Int64())
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"fedsender", "activity"}, []string{"ap_id", "data", "actor_id", "send_all_instances"},
		pgx.CopyFromSlice(5, func(i int) ([]any, error) {
			wait(ctx, 3*time.Millisecond)
			return []any{fmt.Sprintf("%s/%d", name, i), "{}", b.actor, true}, nil
		}))
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `select id from fedsender.activity where ap_id like $1 || '/%'`, name)
	if err != nil {
		return err
	}
	copied, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	*ids = append(*ids, copied...)
	return err
}

// writePrepared commits, or rolls back, a transaction in two phases.
func (b *feedBench) writePrepared(ctx context.Context, r *rand.Rand, delay time.Duration) error {
	conn, err := b.db.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	gid := fmt.Sprintf("'g%d'", r.Int64())
	if _, err := conn.Exec(ctx, `begin`); err != nil {
		return err
	}
	ids, err := b.insert(ctx, conn, 2)
	if err != nil {
		return err
	}
	wait(ctx, delay/4)
	if _, err := conn.Exec(ctx, `prepare transaction `+gid); err != nil {
		return err
	}
	wait(ctx, delay)
	if r.IntN(4) == 0 {
		_, err = conn.Exec(ctx, `rollback prepared `+gid)
		return err
	}
	if _, err = conn.Exec(ctx, `commit prepared `+gid); err == nil {
		b.note(ids)
	}
	return err
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// readAll reads until the head has reached the highest id that exists, and returns what it got.
func readAll(t *testing.T, b *feedBench, feed *pg.Feed, writing func() bool) []int64 {
	t.Helper()
	var got []int64
	for deadline := time.Now().Add(60 * time.Second); ; {
		busy := writing()
		batch, err := feed.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range batch.Activities {
			got = append(got, a.ID)
		}
		if !busy && !batch.More && !batch.Waiting {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("the feed stands at %d", feed.Head())
		}
		wait(t.Context(), 3*time.Millisecond)
	}
}

func TestFeed_LosesNothingThatCommitsLate(t *testing.T) {
	b := newFeedBench(t)
	reader, err := b.db.Begin(t.Context()) // a report that stays open holds up nothing for good
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := reader.Exec(t.Context(), `select count(*) from fedsender.activity`); err != nil {
		t.Fatal(err)
	}
	feed := b.feed(t)
	var writers conc.WaitGroup
	done := make(chan struct{})
	errs := make(chan error, 24)
	for n := range 24 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			for range 25 {
				if err := b.write(t.Context(), r); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	got := readAll(t, b, feed, func() bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	})
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Error("the feed is out of order or gave something twice")
	}
	lost := 0
	for id := range b.committed {
		if _, found := slices.BinarySearch(got, id); !found {
			lost++
		}
	}
	taken, locks := feed.Fences()
	t.Logf("%d activities, %d committed, %d lost, %d fences, %d reads of pg_locks", len(got), len(b.committed), lost, taken, locks)
	if lost > 0 || len(got) != len(b.committed) {
		t.Errorf("lost %d of %d; got %d", lost, len(b.committed), len(got))
	}
}

func TestFeed_WaitsForOneLongWriterAndForNoReader(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	late, err := b.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.insert(t.Context(), late, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.insert(t.Context(), b.db, 1); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 1500*time.Millisecond; wait(t.Context(), 10*time.Millisecond) {
		batch, err := feed.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Activities) > 0 || !batch.Waiting && feed.Head() >= first[0] {
			t.Fatalf("the feed passed an open transaction: %+v", batch)
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, feed, func() bool { return false }); len(got) != 2 || got[0] != first[0] {
		t.Errorf("got %v, want the late one first", got)
	}
}

// At many inserts a second each read meets the gap of a commit that is under way, and the next one another: a fence for each
// would cost the writers more than the reads.
func TestFeed_TakesNoFenceForGapsThatTheNextReadFindsFilled(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	read := func() {
		t.Helper()
		batch, err := feed.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !batch.Waiting {
			t.Fatalf("met no gap: %+v", batch)
		}
		for start := feed.Stopped(); feed.Stopped() < start+30*time.Millisecond; { // longer than a gap is left to fill by itself
			wait(t.Context(), time.Millisecond)
		}
	}
	gap := func() pgx.Tx {
		t.Helper()
		late, err := b.db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = late.Rollback(context.WithoutCancel(t.Context())) })
		if _, err := b.insert(t.Context(), late, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := b.insert(t.Context(), b.db, 1); err != nil {
			t.Fatal(err)
		}
		return late
	}
	for range 5 {
		late := gap()
		read()
		if taken, _ := feed.Fences(); taken != 0 {
			t.Fatalf("took %d fences", taken)
		}
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gap()
	for range 3 {
		read()
	}
	if taken, _ := feed.Fences(); taken != 1 {
		t.Errorf("took %d fences for a gap that stayed, want 1", taken)
	}
}

func TestFeed_TakesTheHorizonOfOthersForHoles(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	if err := pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		if _, err := b.insert(t.Context(), tx, 3); err != nil {
			return err
		}
		return errBack
	}); !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	ids, err := b.insert(t.Context(), b.db, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := pg.PublishHorizon(t.Context(), b.db, ids[0]-1); err != nil {
		t.Fatal(err)
	}
	batch, err := feed.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(batch.Activities) != 1 || batch.Through != ids[0] {
		t.Errorf("got %+v", batch)
	}
	if taken, _ := feed.Fences(); taken != 0 {
		t.Errorf("took %d fences", taken)
	}
}

func TestFeed_TellsEachChangeOnceHoweverLateItCommits(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	late, err := b.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec(t.Context(), `insert into fedsender.instance (domain) values ('late.example')`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.Exec(t.Context(), `insert into fedsender.instance (domain) values ('early.example')`); err != nil {
		t.Fatal(err)
	}
	read := func() int {
		batch, err := feed.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(batch.Changes.Instances)
	}
	if n := read(); n != 1 {
		t.Fatalf("%d changes, want the early one", n)
	}
	if n := read(); n != 0 {
		t.Fatalf("%d changes were told again", n)
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := read(); n != 1 {
		t.Fatalf("%d changes, want the late one", n)
	}
}

func TestFeed_ReadsIdsThatAreDrawnAgainAfterTheDatabaseLostCommits(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	ids, err := b.insert(t.Context(), b.db, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, feed, func() bool { return false }); len(got) != 10 {
		t.Fatalf("got %v", got)
	}
	if err := pg.PublishHorizon(t.Context(), b.db, ids[4]); err != nil {
		t.Fatal(err)
	}
	// What a crash with synchronous_commit off, or a replica that was behind, leaves.
	if _, err := b.db.Exec(t.Context(), `delete from fedsender.activity where id > $1`, ids[6]); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.Exec(t.Context(), fmt.Sprintf(`alter table fedsender.activity alter column id restart with %d`, ids[7])); err != nil {
		t.Fatal(err)
	}
	again, err := b.insert(t.Context(), b.db, 2)
	if err != nil {
		t.Fatal(err)
	}
	if head, _, err := feed.Rewind(t.Context()); err != nil || head != ids[4] {
		t.Fatalf("the head is %d, %v", head, err)
	}
	batch, err := feed.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, a := range batch.Activities {
		got = append(got, a.ID)
	}
	if want := append(slices.Clone(ids[5:7]), again...); !slices.Equal(got, want) || !batch.Changes.Reload {
		t.Errorf("got %v, want %v, and everything loaded anew", got, want)
	}
}
