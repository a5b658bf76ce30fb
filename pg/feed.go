package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// gapPatience is how long a gap may be a commit under way, which most are, before a fence is taken.
	gapPatience = 20 * time.Millisecond
	// batchRows bounds one read of the head: so many that most reads are one, however many activities come.
	batchRows = 4000
)

// Feed reads activities in the order of their ids, each once, up to the horizon: it never passes an id under which an
// activity can still appear. Ids come from a sequence and rows become visible at commit, so a gap between visible ids may
// still be filled. Most gaps fill within milliseconds; for those that do not, a fence waits for every transaction that
// could. All of it holds while ids are drawn inside the INSERT from a sequence with CACHE 1 ([ReadSource] tells).
//
// With each read come the changes beside activities that were committed before it, so whom an activity is for can be
// decided with every follow that precedes it. A Feed belongs to one goroutine. Its connections get rows as text, like those of
// [NewPool].
type Feed struct {
	// Fenced, when set, is told how long each fence for a gap stood.
	Fenced func(time.Duration)

	db       Querier
	watch    *watch
	now      func() time.Time
	head     int64    // all up to it has been returned
	holes    int64    // gaps up to it are holes for ever
	snapshot Snapshot // of the last read of changes
	gap      int64    // the first id of the gap that stopped the last read; 0: none
	gapSince time.Time
	gapAgain bool // it stopped the read before that too
	fence    *fence
	asleep   *fence // taken by Settle
	reload   bool   // the next read reports that everything must be loaded anew
}

// Batch is what one read gave.
type Batch struct {
	Activities  []Activity // those that name anybody; no bodies, keys and transactions
	Count       int        // how many were read, with those that name nobody
	PublishedAt time.Time  // of the last of them; zero: there is none
	Through     int64      // every id up to it is decided: read or a hole
	More        bool       // there is more to read at once
	Waiting     bool       // a gap holds up activities that are visible: read again soon (see [Feed.Stopped])
	Changes     Changes
}

// LowerHorizon has the horizon no higher than the newest activity, which it is after a restore of the application's tables
// from an older backup: the ids that were lost are drawn again. Where the newest ones were deleted it costs a fence.
func LowerHorizon(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `
		update fedsender.feed f
		set horizon = n.id
		from (select max(id) as id from fedsender.source_activity) n
		where f.horizon > n.id`)
	return wrap("compare the horizon with the newest activity", err)
}

// NewFeed begins after the id that some process has wholly dealt with (feed.horizon). Changes are those after
// the snapshot of [Load].
func NewFeed(ctx context.Context, db Querier, source Source, snapshot Snapshot, log *slog.Logger) (*Feed, error) {
	f := &Feed{
		db: db, watch: newWatch(db, source.ActivityTable, source.PreparesTransactions, log),
		now: time.Now, snapshot: snapshot,
	}
	if err := LowerHorizon(ctx, db); err != nil {
		return nil, err
	}
	if err := db.QueryRow(ctx, `select horizon from fedsender.feed`).Scan(&f.head); err != nil {
		return nil, fmt.Errorf("read the horizon: %w", err)
	}
	return f, nil
}

// Head is the id up to which everything has been returned.
func (f *Feed) Head() int64 { return f.head }

// ChangesSince makes the next Read report what was not visible in the snapshot, after everything was loaded by it.
func (f *Feed) ChangesSince(snapshot Snapshot) { f.snapshot, f.reload = snapshot, false }

// Rewind goes back to what some process has wholly dealt with, as the database has it now. It is called when every
// session with the database may have been lost: one that crashed with synchronous_commit off, or that was replaced by a
// replica, may have lost commits, so that their ids are drawn again. It returns the head from here on and the database's
// horizon. What comes again because nothing was lost is known to who was offered it.
func (f *Feed) Rewind(ctx context.Context) (head, horizon int64, err error) {
	err = f.db.QueryRow(ctx, `
		select horizon, current_setting('max_prepared_transactions')::int > 0
		from fedsender.feed`).Scan(&horizon, &f.watch.prepares) // which a restart may have changed
	if err != nil {
		return 0, 0, fmt.Errorf("read the horizon: %w", err)
	}
	f.head, f.holes = min(f.head, horizon), horizon
	f.gap, f.fence, f.asleep, f.reload = 0, nil, nil, true
	return f.head, horizon, nil
}

// Prepares says whether the server allows prepared transactions: then triggers can't ring (migrations/common/bells.sql).
func (f *Feed) Prepares() bool { return f.watch.prepares }

// Stopped is how long the gap that the last read met has been in the way; 0: it met none.
func (f *Feed) Stopped() time.Duration {
	if f.gap == 0 {
		return 0
	}
	return f.now().Sub(f.gapSince)
}

// Fences says how many fences were taken, and how often one had to ask pg_locks.
func (f *Feed) Fences() (taken, lockReads int64) { return f.watch.fences, f.watch.waits }

// Read returns what follows the head, in one round trip while no gap is in the way.
func (f *Feed) Read(ctx context.Context) (Batch, error) {
	if err := f.advanceFence(ctx); err != nil {
		return Batch{}, err
	}
	found, err := f.read(ctx)
	if err != nil {
		return Batch{}, err
	}
	batch := Batch{
		Activities: found.walk.activities, Count: found.walk.count, PublishedAt: found.walk.publishedAt,
		Waiting: found.walk.stopped, Changes: found.changes,
	}
	batch.Changes.Reload = batch.Changes.Reload || f.reload
	f.holes = found.walk.holes
	f.snapshot = found.changes.Snapshot
	next := found.walk.next
	if batch.Waiting {
		f.stopAt(next)
	} else {
		f.gap, f.fence = 0, nil
		batch.More = found.walk.count == batchRows
		if !batch.More {
			next = max(next, f.holes+1)
		}
	}
	f.head = next - 1
	batch.Through = f.head
	return batch, nil
}

// stopAt notes when a gap was first in the way.
func (f *Feed) stopAt(id int64) {
	f.gapAgain = f.gap == id
	if !f.gapAgain {
		f.gap, f.gapSince = id, f.now()
	}
}

// advanceFence takes a fence for a gap that did not fill by itself and looks whether one is down. It must come
// before the read: what commits in between is seen by the read, and not by a read that came before.
func (f *Feed) advanceFence(ctx context.Context) error {
	if f.gap == 0 {
		return nil
	}
	now := f.now()
	if f.fence == nil {
		// Where reads are far apart, each meets a gap, and each another one: a read tells that for less than a fence costs.
		if !f.gapAgain || now.Sub(f.gapSince) < gapPatience {
			return nil
		}
		// The highest visible id is read first: all below it had been drawn by then.
		var bound int64
		if err := f.db.QueryRow(ctx, `select coalesce(max(id), 0) from fedsender.source_activity`).Scan(&bound); err != nil {
			return fmt.Errorf("read the highest id: %w", err)
		}
		var err error
		f.fence, err = f.watch.raise(ctx, bound, now)
		if f.fence == nil {
			return err
		}
	}
	down, err := f.fence.down(ctx, now)
	if err != nil {
		return err
	}
	if down {
		if f.Fenced != nil {
			f.Fenced(now.Sub(f.fence.taken))
		}
		f.holes = max(f.holes, f.fence.bound)
		f.fence = nil
	}
	return nil
}

// Settle is called again and again between [Arm] and sleep. It is true once every transaction that was open at the first
// call has ended: those did not see that the bell is armed and ring for nobody.
func (f *Feed) Settle(ctx context.Context) (bool, error) {
	now := f.now()
	if f.asleep == nil {
		var err error
		if f.asleep, err = f.watch.raise(ctx, 0, now); f.asleep == nil {
			return false, err
		}
	}
	down, err := f.asleep.down(ctx, now)
	if down {
		f.asleep = nil
	}
	return down, err
}

// Unsettle forgets what Settle waited for.
func (f *Feed) Unsettle() { f.asleep = nil }

// reading is one round trip: the shared horizon first, because a hole must be known before the rows are read, and the
// changes last, because a follow that was committed before an activity must be among them.
type reading struct {
	walk    walk
	changes Changes
}

func (f *Feed) read(ctx context.Context) (r reading, err error) {
	r.walk = walk{next: f.head + 1, holes: f.holes}
	batch := &pgx.Batch{}
	batch.Queue(`select horizon from fedsender.feed`).QueryRow(r.walk.readHorizon)
	batch.Queue(headRows, f.head, batchRows).Query(r.walk.read)
	queueChanges(batch, f.snapshot, &r.changes)
	sender, ok := f.db.(interface {
		SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	})
	if !ok {
		return r, errors.New("the feed needs a connection that can send batches")
	}
	if err := sender.SendBatch(ctx, batch).Close(); err != nil {
		return r, fmt.Errorf("read activities: %w", err)
	}
	return r, nil
}
