package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
)

const (
	// beatEvery leaves two more chances within Term when one heartbeat fails.
	beatEvery = 2 * time.Second
	// sentinelEvery bounds how long a crash goes unseen.
	sentinelEvery = 400 * time.Millisecond
	// sentinels is how many processes beat that often: two may vanish together and the third still tells.
	sentinels = 3
	// wakeGap joins bells that ring together, such as those of all holders that make room for a new process.
	wakeGap = 100 * time.Millisecond
	// settle lets processes that start together see each other before the first takes everything.
	settle = 250 * time.Millisecond
	// vanishGrace is for a process whose session the server ended: it learns that from its socket, at the other end of the
	// world later than we do. Until then it may send what is somebody else's.
	vanishGrace = 250 * time.Millisecond
	// firstRetry is when an owner asks again for what it could not lock after a change; then it doubles up to leftoverAfter.
	// The bell comes earlier, but a holder that has not seen the last change rings for somebody else.
	firstRetry = 200 * time.Millisecond
	// leftoverAfter is how long an instance without a holder stays reserved for its owner, and how often
	// an owner asks again for what it can't lock.
	leftoverAfter = 5 * time.Second
	// sweepEvery is how often leftovers are looked for when the last few looks found none.
	sweepEvery = 30 * time.Second
	// soonSweeps is how many looks may follow each other closely: that the owner and so many deputies have no
	// room is rare, and each look of all processes together tries to lock every instance.
	soonSweeps = 6
	// silentAfter is when a peer that says nothing has lost its term by both its clocks, at the least rate that they may have
	// (see the package comment). It can hold nothing with that session, so what is free is for the others.
	silentAfter = Term * 10 / 6
	// hungAfter is how long a peer may be silent before its session is ended: far above any pause that a
	// living process makes, far below what an operator would wait. It is by the server's clock, and where that is set forward
	// all look silent until they are heard next: so for silentAfter of it we must have looked on ourselves.
	hungAfter = 30 * time.Second
	// drainTimeout leaves a new process its share within 10 s, however slow a receiver is.
	drainTimeout = 8 * time.Second
	// lockChunk lets one statement do (measured: 2 ms a thousand locks) and keeps it far below its time-out of 2 s.
	lockChunk = 50_000
	// lockLessAfter bounds what it costs to find out how many locks there is room for: with each failure the locks of the
	// whole server are read, once.
	lockLessAfter = time.Second
)

// Config is what a Keeper needs. ID, Session, Handler and Log must be set.
type Config struct {
	ID              string // as in Session's own Peer
	Session         Session
	Handler         Handler
	MaxLeases       int           // what this process may hold; 0: no limit
	Budget          int           // what all processes together may hold; with more instances each takes an equal part at most; 0: no limit
	ShutdownTimeout time.Duration // how long deliveries in flight may take to end when Run's ctx ends; 0: 30 s
	// Weights reads the newest ones, which have passed [Weights.Check]; nil: there are none. The heartbeat waits for it.
	Weights func(ctx context.Context) (*Weights, error)
	Log     *slog.Logger
	Wall    func() time.Time // the wall clock; nil: time.Now
}

// Keeper holds the leases of one process on one session. Its methods are safe for several goroutines;
// Run may be called once.
type Keeper struct {
	cfg  Config
	term *term
	wake chan struct{}
	// offered says that others gave up something for us.
	offered chan struct{}
	status  atomic.Pointer[Status]
	left    named // have said that they leave
	greeted named // have said that they begin, since the last round
	said    said
	current atomic.Pointer[Plan]
	newest  atomic.Int64 // version of the weights that Adopt was told of

	results results
	group   conc.WaitGroup

	// What follows belongs to the goroutine of Run.
	members  []string       // present processes, sorted
	most     map[string]int // how many leases each wants at most; 0: any number
	ids      []int32        // what Handler.Instances said when plan was made
	weights  *Weights
	asked    bool      // for weights, and got an answer
	askAt    time.Time // when to ask again: the last answer was of no use
	plan     *Plan
	own      []int32 // plan's share of this process
	picks    []int32 // what of that should be held, the most urgent first
	turns    turns
	leases   map[int32]state
	adopted  map[int32]adoption
	warned   map[string]bool     // peers that should be ended and can't be
	settling map[string]bool     // peers that began a moment ago and take nothing yet
	silent   map[int32]time.Time // backends of sessions that keep leases and can't use them: since when they were found so
	sessions int                 // of all processes, ours and those that are about to end included
	late     bool                // others held leases when this process began
	joined   bool
	settled  bool // and the others know
	failed   bool // the last heartbeat
	leaving  bool
	drainFor time.Duration
	ring     bool      // the others should know
	greet    bool      // they should know that we begin
	takeNext time.Time // the earliest look at what was offered
	last     time.Time // start of the last round
	began    time.Time // of Run
	retryAt  time.Time // when to ask again for what we own and could not lock
	// retryAfter grows with each time that this was in vain.
	retryAfter time.Duration
	lacking    bool      // something that we own is not ours yet
	chunk      int       // how many locks one statement asks for
	noLocks    time.Time // until then nothing is locked: the last statement failed
	grace      time.Time // until then nothing is locked: somebody who vanished may still send
	sweepAt    time.Time
	sweeps     int // since the last change or find
}

// Status is what a Keeper shows to people.
type Status struct {
	Peers    []string  // present processes, sorted, this one included
	Owned    int       // instances that this process should hold
	Held     int       // instances that it holds, those that it drains included
	Limit    int       // how many it may hold; 0: no limit
	LastBeat time.Time // the last good heartbeat
	Settled  bool      // it has made itself known and takes what it should hold
	Weights  int64     // the version that it plans with
}

// New makes a Keeper. Context keeps the values of ctx and does not end with it.
func New(ctx context.Context, cfg Config) *Keeper {
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = 30 * time.Second
	}
	if cfg.Wall == nil {
		cfg.Wall = time.Now
	}
	k := &Keeper{
		cfg:      cfg,
		term:     newTerm(ctx, cfg.Wall),
		wake:     make(chan struct{}, 1),
		offered:  make(chan struct{}, 1),
		most:     map[string]int{},
		weights:  &Weights{},
		settling: map[string]bool{},
		leases:   map[int32]state{},
		adopted:  map[int32]adoption{},
		warned:   map[string]bool{},
		drainFor: drainTimeout,
		chunk:    lockChunk,
		results:  results{ready: make(chan struct{}, 1)},
	}
	k.plan = newPlan(nil, nil, k.weights)
	k.status.Store(&Status{})
	k.current.Store(k.plan)
	return k
}

// Valid says whether deliveries may be sent at this moment. It compares both clocks itself, so it is right
// even where timers are late. Once Run is under way a false is final.
func (k *Keeper) Valid() bool { return k.term.valid() }

// Context is cancelled when the deadline passes, the session is lost or Run returns. Whatever delivers must
// run under it. It lives on during a graceful end, until the last lease is given up.
func (k *Keeper) Context() context.Context { return k.term.ctx }

// Wake tells that Handler.Instances changed. It never blocks.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Status returns what was true after the last round.
func (k *Keeper) Status() Status { return *k.status.Load() }

// Run takes, keeps and gives up leases until ctx ends; then it releases everything, unlocks, rings and returns nil.
// If the session or the deadline is lost it cancels Context and returns an error that matches ErrLost, as soon as
// the Handler's calls have returned.
func (k *Keeper) Run(ctx context.Context) error {
	k.term.begin()
	err := k.supervise(ctx)
	k.term.finish(errors.New("the keeper has ended"))
	k.group.Wait()
	return err
}

func (k *Keeper) supervise(ctx context.Context) error {
	k.group.Go(func() {
		if err := k.cfg.Session.Wait(k.term.ctx); k.term.ctx.Err() == nil {
			k.term.cancel(fmt.Errorf("the session ended: %w", err))
		}
	})
	k.began = time.Now()
	k.retryAt = k.began.Add(settle)
	due, rung, offered := k.began, false, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.term.ctx.Done():
			return k.lost()
		case <-ctx.Done():
			return k.leave()
		case <-k.results.ready:
			k.finish()
		case <-k.wake:
			rung = true
			if at := k.answerAt(); at.Before(due) {
				due = at
			}
		case <-k.offered:
			offered = true
		case <-timer.C:
			if now := time.Now(); offered && k.joined && !now.Before(k.takeAt()) {
				offered = false
				if k.accept(rung) {
					due, rung = k.nextAt(), false
				}
			}
			if !time.Now().Before(due) {
				k.round(rung)
				due, rung = k.nextAt(), false
			}
		}
		if at := k.takeAt(); offered && k.joined && at.Before(due) {
			timer.Reset(time.Until(at))
		} else {
			timer.Reset(time.Until(due))
		}
	}
}

func (k *Keeper) lost() error {
	return fmt.Errorf("%w: %w", ErrLost, context.Cause(k.term.ctx))
}

// answerAt spreads the answers to one bell, a millisecond for each process.
func (k *Keeper) answerAt() time.Time {
	at := time.Now().Add(rand.N(time.Duration(len(k.members)+1) * time.Millisecond))
	if gap := k.last.Add(wakeGap); at.Before(gap) {
		return gap
	}
	return at
}

// takeAt is the earliest moment for a look at what was offered, which may be before settle ends: who offers knows who
// is present.
func (k *Keeper) takeAt() time.Time { return latest(k.takeNext, k.grace) }

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// nextAt counts from the start of the last round, so that slow calls do not stretch the interval.
func (k *Keeper) nextAt() time.Time {
	every := beatEvery
	if k.isSentinel() || k.failed {
		every = sentinelEvery
	}
	at := k.last.Add(every)
	extra := []time.Time{k.began.Add(settle), k.grace, k.noLocks}
	if k.lacking {
		extra = append(extra, k.retryAt)
	}
	for _, start := range extra {
		if start.After(k.last) && start.Before(at) {
			at = start
		}
	}
	return at
}

// round is one heartbeat and all that follows from it.
func (k *Keeper) round(rung bool) {
	k.last = time.Now()
	start := k.term.now()
	peers, err := k.cfg.Session.Beat(k.term.ctx)
	k.failed = err != nil
	if err != nil {
		k.complain("heartbeat failed", err)
		return
	}
	k.term.extend(start)
	if !k.term.valid() {
		return
	}
	changed, late := k.observe(peers)
	if k.learn(peers, rung) {
		changed = true
	}
	if late && !rung && k.joined {
		k.ring = true // who was woken by a bell need not ring for the same news
	}
	if !k.settled && !k.last.Before(k.began.Add(settle)) {
		k.settled, k.greet = true, len(k.members) > 1
	}
	k.joined = true
	k.balance(changed || rung)
	k.flush()
	k.report()
}

// flush unlocks what was released, which tells those who should take it, and tells everybody what is new.
func (k *Keeper) flush() {
	k.unlock()
	k.ringOut()
}

func (k *Keeper) report() {
	k.current.Store(k.plan)
	k.status.Store(&Status{
		Peers: k.members, Owned: len(k.own), Held: len(k.leases), Limit: k.capacity(), LastBeat: k.last,
		Weights: k.weights.Version, Settled: k.settled,
	})
}

// complain logs unless the session is lost, which Run tells its caller, or the same was said a moment ago.
func (k *Keeper) complain(what string, err error) {
	if k.term.ctx.Err() == nil && !k.said.again(what) {
		k.cfg.Log.Warn(what, "process", k.cfg.ID, "error", err)
	}
}

// results carries the ends of Handler calls to the goroutine of Run, however busy that is.
type results struct {
	mu    sync.Mutex
	list  []result
	ready chan struct{}
}

// result is a Handler call that ended: ids are now in the state then.
type result struct {
	ids  []int32
	then state
}

func (r *results) add(one result) {
	r.mu.Lock()
	r.list = append(r.list, one)
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *results) take() []result {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}
