package pg

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"
)

const (
	// locksAfter is how long a fence waits for all transactions before it asks which of them write.
	locksAfter = 250 * time.Millisecond
	// warnAfter is when an operator should hear of a writer that holds up everything.
	warnAfter = 5 * time.Second
)

// fence waits until every transaction that was open when it was taken has ended: what one of them could still
// commit is decided then. It waits the way that CREATE INDEX CONCURRENTLY does (Postgres manual, "Building Indexes
// Concurrently"), with views instead of locks. A snapshot's xmin would be no fence: a COPY that has drawn ids may have no
// transaction id yet.
type fence struct {
	watch *watch
	bound int64 // gaps below it are holes once the fence is down
	taken time.Time

	open          []transaction // those of the first list that are still open
	hidden        bool          // some sessions don't show their transactions to our role
	preparedNoted bool
	prepared      []string // prepared transactions that are still open
	locksNoted    bool
	writers       []writer // who held a writing lock on the table and still does; decides when locksNoted
	warned        bool
}

// transaction is one transaction of one session; all three are needed because pids are used again.
type transaction struct {
	PID           int32
	BackendStart  time.Time
	TransactStart time.Time
}

// writer holds a lock on the activity table that an INSERT takes before it draws its id.
type writer struct {
	PID  int32 // 0: a prepared transaction
	VXID string
}

// watch reads who is open, within the budget of one process.
type watch struct {
	db            Querier
	table         string
	log           *slog.Logger
	sessionReads  *rate.Limiter // of pg_stat_activity: 1 ms each
	lockReads     *rate.Limiter // of pg_locks: up to 37 ms each with 30,000 leases, paid by every writer of the database
	prepares      bool          // the server allows prepared transactions
	fences, waits int64
}

func newWatch(db Querier, table string, prepares bool, log *slog.Logger) *watch {
	return &watch{
		db: db, table: table, prepares: prepares, log: log,
		sessionReads: rate.NewLimiter(10, 3),
		lockReads:    rate.NewLimiter(1, 1),
	}
}

// raise takes a fence. Every id up to bound was drawn before this call. It returns nil where the budget is used up.
func (w *watch) raise(ctx context.Context, bound int64, now time.Time) (*fence, error) {
	if !w.sessionReads.AllowN(now, 1) {
		return nil, nil
	}
	f := &fence{watch: w, bound: bound, taken: now}
	var err error
	if f.open, f.hidden, err = w.transactions(ctx); err != nil {
		return nil, err
	}
	w.fences++
	return f, nil
}

// down reads again where the budget allows and says whether nothing that the fence waits for is open any more.
func (f *fence) down(ctx context.Context, now time.Time) (bool, error) {
	if len(f.open) > 0 && f.watch.sessionReads.AllowN(now, 1) {
		open, _, err := f.watch.transactions(ctx)
		if err != nil {
			return false, err
		}
		f.open = both(f.open, open)
	}
	if !f.hidden && len(f.open) == 0 {
		ended, err := f.preparedEnded(ctx, now)
		if ended || err != nil {
			return ended, err
		}
	}
	if f.hidden || now.Sub(f.taken) >= locksAfter {
		return f.writersEnded(ctx, now)
	}
	return false, nil
}

// preparedEnded notes the prepared transactions only after the first list has ended: a transaction leaves that list
// when it is prepared.
func (f *fence) preparedEnded(ctx context.Context, now time.Time) (bool, error) {
	if !f.watch.prepares {
		return true, nil
	}
	if f.preparedNoted && (len(f.prepared) == 0 || !f.watch.sessionReads.AllowN(now, 1)) {
		return len(f.prepared) == 0, nil
	}
	rows, err := f.watch.db.Query(ctx, `
		select transaction::text || ' ' || gid
		from pg_prepared_xacts
		where database = current_database()`)
	prepared, err := collect("read prepared transactions", rows, err, pgx.RowTo[string])
	if err != nil {
		return false, err
	}
	if f.preparedNoted {
		prepared = both(f.prepared, prepared)
	}
	f.prepared, f.preparedNoted = prepared, true
	return len(prepared) == 0, nil
}

// writersEnded asks pg_locks. An INSERT takes its lock before it draws an id, so who holds none now can't fill a gap.
func (f *fence) writersEnded(ctx context.Context, now time.Time) (bool, error) {
	if !f.watch.lockReads.AllowN(now, 1) {
		return false, nil
	}
	f.watch.waits++
	found, err := f.watch.writers(ctx)
	if err != nil {
		return false, err
	}
	f.writers, f.locksNoted = f.remaining(found), true
	if len(f.writers) > 0 && !f.warned && now.Sub(f.taken) >= warnAfter {
		f.warned = true
		f.watch.log.Warn("a transaction that writes activities has been open for long; later activities wait for it",
			"writers", f.names(), "waiting", now.Sub(f.taken).Round(time.Second))
	}
	return len(f.writers) == 0, nil
}

// remaining is who of found the fence waits for. A writer that is prepared goes on as another holder of its locks, so
// while sessions vanish all prepared ones are waited for.
func (f *fence) remaining(found []writer) []writer {
	vanished := slices.ContainsFunc(f.writers, func(w writer) bool { return w.PID != 0 && !slices.Contains(found, w) })
	return slices.DeleteFunc(found, func(w writer) bool {
		switch {
		case f.locksNoted:
			return !slices.Contains(f.writers, w) && (w.PID != 0 || !vanished)
		case f.hidden || w.PID == 0:
			return false
		}
		return !slices.ContainsFunc(f.open, func(t transaction) bool { return t.PID == w.PID })
	})
}

func (f *fence) names() string {
	var names []string
	for _, w := range f.writers {
		if w.PID == 0 {
			names = append(names, "prepared transaction "+w.VXID)
		} else {
			names = append(names, fmt.Sprintf("pid %d", w.PID))
		}
	}
	return strings.Join(names, ", ")
}

// transactions returns those that are open in this database, of every kind of backend. hidden says that some session
// does not tell: it belongs to another role and ours lacks pg_read_all_stats, or it has track_activities off.
func (w *watch) transactions(ctx context.Context) (open []transaction, hidden bool, err error) {
	rows, err := w.db.Query(ctx, `
		select pid, backend_start, xact_start
		from pg_stat_get_activity(null)
		where datid = (select oid from pg_database where datname = current_database())
		  and pid <> pg_backend_pid()
		  and (xact_start is not null or query = '<insufficient privilege>' or state = 'disabled')`)
	if err != nil {
		return nil, false, fmt.Errorf("read open transactions: %w", err)
	}
	var (
		t              transaction
		backend, start *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&t.PID, &backend, &start}, func() error {
		if backend == nil || start == nil {
			hidden = true
			return nil
		}
		t.BackendStart, t.TransactStart = *backend, *start
		open = append(open, t)
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("read open transactions: %w", err)
	}
	return open, hidden, nil
}

func (w *watch) writers(ctx context.Context) ([]writer, error) {
	rows, err := w.db.Query(ctx, `
		select distinct coalesce(pid, 0), virtualtransaction
		from pg_locks
		where locktype = 'relation'
		  and database = (select oid from pg_database where datname = current_database())
		  and relation = $1::text::regclass
		  and granted
		  and mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`, w.table)
	return collect("read who writes activities", rows, err, pgx.RowToStructByPos[writer])
}

// both returns what is in a and in b, in place of a. The lists are short: a server has some hundred sessions.
func both[T comparable](a, b []T) []T {
	return slices.DeleteFunc(a, func(x T) bool { return !slices.Contains(b, x) })
}
