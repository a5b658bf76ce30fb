package sender

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"
	"golang.org/x/time/rate"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/admin/page"
	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
)

const (
	poolCloseTimeout = time.Second
	// pageLockReads is how often a second the page may read pg_locks. The feed has a budget of its own, which viewers must not use up.
	pageLockReads = 1
)

// Run delivers until ctx ends: then it takes nothing new, lets what is in flight end for at most the shutdown time-out,
// writes the cursors, gives its leases up and returns nil, or an [*UnsavedError] where cursors could not be written. Before
// that it returns only with an error that trying again can't mend: a wrong setting, a schema that is missing or of another
// version, a database that can't be reached within 10 s at start. A database that says that it is not ready, or that goes
// away later, is waited for.
func Run(ctx context.Context, config Config) error {
	e, err := newEngine(ctx, config)
	if err != nil {
		return err
	}
	defer e.closeClient()
	defer e.closePool()
	if err := e.run(ctx); err != nil {
		return err
	}
	return e.stopped()
}

func (e *engine) run(ctx context.Context) error {
	feed, err := e.await(ctx)
	if feed == nil {
		return err
	}
	e.saySigner()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.dispatcher = newDispatcher(e.config, e.post, func(r *panics.Recovered) { stop(fatal{r.AsError()}) })
	e.dispatcher.advance(feed.Head(), time.Time{})
	e.ended = ctx.Done()
	head := &head{engine: e, feed: feed}
	if err := e.insistAtStart(ctx, func(ctx context.Context) error { return e.load(ctx, feed) }); err != nil || ctx.Err() != nil {
		return err
	}

	admin, endAdmin := context.WithCancel(context.WithoutCancel(ctx))
	var services, loops conc.WaitGroup
	defer services.Wait()
	defer endAdmin()
	services.Go(func() { e.runNotices(ctx, admin) })
	services.Go(func() {
		if err := e.serveAdmin(admin); err != nil {
			stop(fatal{err})
		}
	})
	for _, loop := range []func(context.Context){
		head.run, (&catchup{engine: e}).run, e.dispatcher.runTimers, e.runSaves, e.runListExpiry, e.runReports, e.runHistory, e.runUpkeep, e.runReloads,
	} {
		loops.Go(func() {
			if recovered := panics.Try(func() { loop(ctx) }); recovered != nil {
				stop(fatal{recovered.AsError()}) // the others are of no use without it
			}
		})
	}
	err = e.holdLeases(ctx)
	stop(err)
	loops.Wait()
	e.signOff(admin)
	var died fatal
	if errors.As(context.Cause(ctx), &died) {
		return died.error
	}
	return err
}

// closePool leaves a little time for the goodbyes.
func (e *engine) closePool() {
	timer := time.AfterFunc(poolCloseTimeout, e.cutter.Cut)
	defer timer.Stop()
	e.pool.Close()
	e.cutter.Cut()
}

// fatal ends Run although ctx has not ended.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

func newEngine(ctx context.Context, config Config) (*engine, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	poolConfig, err := pg.ParseConfig(config.DatabaseURL)
	if err != nil {
		return nil, &ConfigError{Variable: "DATABASE_URL", Problem: "can't be used: " + err.Error()}
	}
	leaseConfig := poolConfig
	if config.LeaseDatabaseURL != "" {
		if leaseConfig, err = pg.ParseConfig(config.LeaseDatabaseURL); err != nil {
			return nil, &ConfigError{Variable: "SENDER_LEASE_DATABASE_URL", Problem: "can't be used: " + err.Error()}
		}
	}
	e := &engine{
		config: config, log: config.Log, id: rand.Text(), metrics: admin.NewMetrics(config.Name, config.Version), tracing: newTracing(config),
		speed: &speedometer{},
		index: targets.New(), documents: newDocuments(config.CacheBytes), keys: newKeys(), news: make(chan struct{}, 1), rewinds: make(chan chan struct{}), listsChanged: make(chan struct{}, 1), reloads: make(chan bool),
	}
	if err := e.openSigner(); err != nil {
		return nil, err
	}
	e.logins.pool.Store(poolConfig)
	e.logins.lease.Store(leaseConfig)
	e.logins.token.Store(&config.AdminToken)
	e.poolConfig = poolConfig.Copy()
	pg.Bound(e.poolConfig)
	pg.Confine(e.poolConfig, e.admit)
	e.hosts.Watch(e.poolConfig)
	e.cutter = pg.Cuttable(ctx, e.poolConfig)
	if e.pool, err = pg.NewPool(ctx, e.poolConfig, pg.PoolConns, e.poolLogin); err != nil {
		e.choice.Close()
		return nil, err
	}
	return e, nil
}

// poolLogin is what the pool's next connection is made with.
func (e *engine) poolLogin() *pgx.ConnConfig {
	login := e.logins.pool.Load().Copy()
	e.hosts.Sort(login)
	return login
}

// directLogin is what the next connection beside the pool is made with, to a server that is admitted.
func (e *engine) directLogin(admit func(pg.ServerID) error) *pgx.ConnConfig {
	login := e.logins.lease.Load().Copy()
	pg.Confine(login, admit)
	e.hosts.Watch(login)
	e.hosts.Sort(login)
	return login
}

// newClient makes what delivers, as the source wants it.
func (e *engine) newClient(source *pg.Source) (*deliver.Client, error) {
	return deliver.NewClient(deliver.Config{
		Policy: e.policy(source), RequestTimeout: e.timeout(source), ConnectTo: e.config.ConnectTo, CAFile: e.config.CAFile,
		UserAgent: e.config.UserAgent, Signer: e.stage, SenderName: markName(e.config), MaxIdlePerHost: e.config.MaxInFlightPerInstance, Now: clock,
	})
}

// timeout is for one delivery; 0: as the client has it.
func (e *engine) timeout(source *pg.Source) time.Duration {
	return cmp.Or(e.config.RequestTimeout, source.RequestTimeout)
}

func (e *engine) policy(source *pg.Source) deliver.Policy {
	return deliver.Policy{
		AllowHTTP: e.config.AllowHTTP, AllowPrivate: e.config.AllowPrivateAddresses,
		RefusePorts: !source.ExplicitPorts, RefuseRedirects: !source.FollowsRedirects,
	}
}

func (e *engine) closeClient() {
	if e.client != nil { // there is none where the database was never reached
		e.client.Close()
	}
	e.choice.Close()
}

// markName is what receivers are told about who sends: nothing, except in tests that tell processes apart.
func markName(config Config) string {
	if config.ConnectTo == "" {
		return ""
	}
	return config.Name
}

// signOff says what became of the last deliveries and takes this process off the list, if the database lets it.
func (e *engine) signOff(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := e.writeHistory(ctx); err != nil {
		e.log.Debug("could not write what became of the last deliveries", "error", pg.Sentence(err))
	}
	if err := pg.DeleteProcess(ctx, e.pool, e.id); err != nil {
		e.log.Debug("could not take this process off the list", "error", pg.Sentence(err))
	}
}

func (e *engine) serveAdmin(ctx context.Context) error {
	if e.config.AdminAddr == "" {
		return nil
	}
	e.watch()
	err := admin.Serve(ctx, admin.Config{
		Addr: e.config.AdminAddr, Token: func() string { return *e.logins.token.Load() }, Metrics: e.metrics, Alive: e.alive, Ready: e.ready, Log: e.log,
		Page: &page.Config{
			Name: e.config.Name, Version: e.config.Version, Ready: e.ready, DB: e.pool, LockReads: rate.NewLimiter(pageLockReads, 1), Log: e.log,
		},
		Listening: func(addr net.Addr) { e.log.Info("serving the page, health and metrics", "address", addr.String()) },
	})
	var taken *admin.ListenError
	if errors.As(err, &taken) {
		return &ConfigError{Variable: "SENDER_ADMIN_ADDR", Problem: fmt.Sprintf("%s can't be listened on: %s", taken.Addr, taken.Err)}
	}
	return err
}
