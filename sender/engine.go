package sender

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

// engine is what all parts of one process share.
type engine struct {
	config  Config
	log     *slog.Logger
	metrics *admin.Metrics
	tracing *tracing // nil: off
	id      string   // of this process, drawn at start

	pool       *pgxpool.Pool
	cutter     *pg.Cutter      // of its connections
	unheard    bool            // there is no connection left to listen on
	poolConfig *pgx.ConnConfig // with the login of the start
	logins     logins
	source     atomic.Pointer[pg.Source]    // as it was last read; set before anything runs
	rules      atomic.Pointer[worker.Rules] // of the source
	client     *deliver.Client              // nil until the source was read
	speed      *speedometer

	choice     *sign.Choice // what signs
	stage      *sign.Stage  // where requests for it wait
	refusedKey sync.Once    // the log has a line of a key that libcrypto refused

	index      *targets.Index
	refreshing refreshing // of index
	documents  *otter.Cache[int64, *prepared]
	keys       *otter.Cache[keyName, signingKey]
	keyChanges atomic.Int64
	dispatcher *dispatcher

	keeper  atomic.Pointer[lease.Keeper]
	session atomic.Pointer[pg.LeaseSession]
	back    signal      // a lease session was opened
	adrift  atomic.Bool // the session was lost, and the head has not rewound since

	hosts pg.HostOrder // of the database
	// anchor is the session whose server all connections must lead to; nil: to any.
	anchor atomic.Pointer[pg.LeaseSession]
	latest atomic.Pointer[pg.ServerID] // that had the leases of this process
	// nameless says once that servers which replace each other can't be told apart.
	nameless sync.Once

	pressure pressure // belongs to runReports

	saidBeyond pg.Beyond // the last time; belongs to lookBack

	lastSession sessionLoss // belongs to the goroutine of holdLeases

	judging        sync.Mutex
	changesApplied atomic.Pointer[pg.Snapshot] // what of the log of changes was applied; nil: nothing

	saveMu      sync.Mutex
	published   int64     // the horizon that the database has at least; guarded by saveMu
	publishedAt time.Time // when that was tried last; guarded by saveMu

	news    chan struct{}      // wakes the head
	rewinds chan chan struct{} // has the head rewind and close what it was given
	rewound atomic.Int64       // how often it did

	listsChanged chan struct{}   // an entry may expire earlier than was known
	ended        <-chan struct{} // closed when Run's ctx ends
	pulse        pulse
	reloads      chan bool // to runNotices: a reload begins (true) or has ended

	left leftovers

	lastRead  atomic.Int64 // Unix nanoseconds of the last good read of the feed
	lost      atomic.Int64 // Unix nanoseconds of the last loss of a lease session
	leaving   atomic.Bool
	delivered atomic.Int64
	outcomes  outcomes
	written   [worker.Canceled + 1]int64 // of outcomes; belongs to runHistory, then to signOff

	deadLetters, queueUsage atomic.Uint64 // bits of a float64, for the gauges
	gap                     atomic.Int64  // nanoseconds that a gap of ids has held up the feed, when it was last read
	censuses                censuses

	complaints sync.Map // what → *complaint

	drifts atomic.Int64 // what failed because the application's tables have changed
	mended atomic.Int64 // drifts, before everything was loaded anew the last time
}

// ringHead has the head look for news at once.
func (e *engine) ringHead() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// read notes that the database answered the feed.
func (e *engine) read(at time.Time) { e.lastRead.Store(at.UnixNano()) }

// complaint joins the same trouble, so that an outage is a line now and then and not a flood.
type complaint struct {
	mu   sync.Mutex
	last time.Time
}

// every calls f at each interval, the first time after one, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

// troubled logs what went wrong and is tried again, at most once in ten seconds for the same thing.
func (e *engine) troubled(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	e.metrics.DatabaseError()
	if session := e.anchor.Load(); session != nil && pg.LeadsElsewhere(err) {
		// Where connections lead to is what was meant, and there the leases must be.
		session.Abandon(pg.ErrOtherServer)
	}
	if pg.TablesChanged(err) {
		e.drifts.Add(1)
		if said := pg.ErrTablesChanged.Error(); e.complains(said) {
			e.log.Error(said, "failed", what, "error", pg.Sentence(err))
		}
		return
	}
	if e.complains(what) {
		e.log.Warn(what, "error", pg.Sentence(pg.Explain(err, e.poolConfig)))
	}
}

// complains tells whether the same was not said within the last ten seconds; then it counts as said.
func (e *engine) complains(what string) bool {
	entry, _ := e.complaints.LoadOrStore(what, &complaint{})
	c := entry.(*complaint)
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) <= 10*time.Second {
		return false
	}
	c.last = time.Now()
	return true
}

// lockedPause is left between two tries while somebody keeps a lock: what waits in the database has already waited a while,
// and goes on soon after the lock is gone.
const lockedPause = 400 * time.Millisecond

// insist tries do until it succeeds or ctx ends, whose error it returns then.
func (e *engine) insist(ctx context.Context, what string, do func(context.Context) error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := do(ctx)
		if err == nil {
			return nil
		}
		e.troubled(ctx, what, err)
		if pg.IsLocked(err) {
			wait = min(wait, lockedPause)
		}
		if rest(ctx, wait, e.back.next()); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// signal wakes all who wait for it. The zero value is ready.
type signal struct {
	mu   sync.Mutex
	wake chan struct{}
}

// next is closed when the signal is raised the next time.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// pause waits for d, give or take a fifth, or until ctx ends.
func pause(ctx context.Context, d time.Duration) { rest(ctx, d, nil) }

// rest is pause, until wake at the latest.
func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d*4/5 + rand.N(d*2/5+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}

// domains names instances for a log line, at most so many.
func (e *engine) domains(ids []int32, limit int) string {
	var names []string
	for i, id := range ids {
		if i == limit {
			names = append(names, "…")
			break
		}
		if instance, ok := e.index.Instance(id); ok {
			names = append(names, instance.Domain)
		} else {
			names = append(names, fmt.Sprint(id))
		}
	}
	return strings.Join(names, ", ")
}

// ready says why this process can't deliver; nil: it can.
func (e *engine) ready() error {
	keeper := e.keeper.Load()
	switch last := time.Unix(0, e.lastRead.Load()); {
	case e.leaving.Load():
		return fmt.Errorf("draining: this process is about to end")
	case e.drifted():
		return pg.ErrTablesChanged
	case last.UnixNano() == 0:
		return fmt.Errorf("starting: nothing is read from the database yet")
	case clock().Sub(last) > idlePoll+5*time.Second:
		return fmt.Errorf("the database has not answered for %s", clock().Sub(last).Round(time.Second))
	case keeper == nil || !keeper.Valid():
		return fmt.Errorf("there is no lease session")
	case !keeper.Status().Settled:
		return fmt.Errorf("joining the other processes")
	}
	return nil
}
