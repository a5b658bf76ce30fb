package sender

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
)

const poolCloseTimeout = time.Second

// Run delivers until ctx ends: then it takes nothing new, lets what is in flight end for at most the shutdown time-out,
// writes the cursors, gives its leases up and returns nil. Before that it returns only with an error that trying again
// can't mend: a wrong setting, a schema that is missing or of another version, a database that can't be reached at start.
// A database that goes away later is waited for.
func Run(ctx context.Context, config Config) error {
	e, err := newEngine(ctx, config)
	if err != nil {
		return err
	}
	defer e.client.Close()
	defer e.closePool()
	feed, err := e.open(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.dispatcher = newDispatcher(config, e.post, func(r *panics.Recovered) { stop(fatal{r.AsError()}) })
	e.dispatcher.advance(feed.Head(), time.Time{})
	e.ended = ctx.Done()
	head := &head{engine: e, feed: feed}
	if err := e.load(ctx, feed); err != nil {
		return err
	}

	admin, endAdmin := context.WithCancel(context.WithoutCancel(ctx))
	var services, loops conc.WaitGroup
	defer services.Wait()
	defer endAdmin()
	services.Go(func() {
		if err := e.serveAdmin(admin); err != nil {
			stop(fatal{err})
		}
	})
	for _, loop := range []func(context.Context){
		head.run, (&catchup{engine: e}).run, e.dispatcher.runTimers, e.runSaves, e.runListExpiry, e.runReports, e.runUpkeep, e.listen,
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

// closePool waits a little for the goodbyes. For a connection whose statement was cut off, pgx tries for up to 15 s to tell
// the server, which may not be there; that goes on while the process ends.
func (e *engine) closePool() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.pool.Close()
	}()
	timer := time.NewTimer(poolCloseTimeout)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
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
	policy := deliver.Policy{AllowHTTP: config.AllowHTTP, AllowPrivate: config.AllowPrivateAddresses}
	speed := &speedometer{}
	signer := deliver.NewGoSigner(0)
	signer.Signed = func(took time.Duration) { speed.signed(time.Now(), took) }
	client, err := deliver.NewClient(deliver.Config{
		Policy: policy, RequestTimeout: config.RequestTimeout, ConnectTo: config.ConnectTo, CAFile: config.CAFile,
		UserAgent: config.UserAgent, Signer: signer, SenderName: markName(config), MaxIdlePerHost: config.MaxInFlightPerInstance, Now: clock,
	})
	if err != nil {
		return nil, err
	}
	poolConfig = poolConfig.Copy()
	pg.Bound(poolConfig)
	pool, err := pg.Open(ctx, poolConfig)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &engine{
		config: config, log: config.Log, id: rand.Text(), metrics: admin.NewMetrics(config.Name, config.Version),
		pool: pool, leaseConfig: leaseConfig, client: client, policy: policy, speed: speed,
		index: targets.New(), documents: newDocuments(config.CacheBytes), keys: newKeys(), news: make(chan struct{}, 1), rewinds: make(chan chan struct{}), listsChanged: make(chan struct{}, 1),
	}, nil
}

// markName is what receivers are told about who sends: nothing, except in tests that tell processes apart.
func markName(config Config) string {
	if config.ConnectTo == "" {
		return ""
	}
	return config.Name
}

// open checks the schema and makes the feed.
func (e *engine) open(ctx context.Context) (*pg.Feed, error) {
	if err := pg.CheckSchema(ctx, e.pool); err != nil {
		return nil, err
	}
	source, err := pg.ReadSource(ctx, e.pool)
	if err != nil {
		return nil, err
	}
	if want := e.config.Source; want != "" && want != "auto" && want != source.Name {
		return nil, &ConfigError{Variable: "SENDER_SOURCE", Problem: fmt.Sprintf("is %s, but the schema is made for %s; unset it", want, source.Name)}
	}
	feed, err := pg.NewFeed(ctx, e.pool, source, pg.Snapshot{}, e.log)
	if err != nil {
		return nil, err
	}
	feed.Fenced = e.metrics.Fence
	e.lockReads = feed.LockReads()
	return feed, nil
}

// listen hears the bells.
func (e *engine) listen(ctx context.Context) {
	rung := func() {
		e.metrics.Bell()
		e.ringHead()
	}
	config := e.leaseConfig.Copy()
	config.RuntimeParams["application_name"] = "fedsender listener " + e.config.Name
	err := pg.Listen(ctx, config, pg.Bells{Activity: rung, Change: rung, Doorbell: rung, Lease: e.hearLeases}, e.log)
	if err != nil {
		e.troubled(ctx, "stopped listening for news; looking for them instead", err)
	}
}

// holdLeases opens one lease session after the other until ctx ends. What it returns then is nil or an error that
// another session would meet too.
func (e *engine) holdLeases(ctx context.Context) error {
	first := true
	for wait := time.Duration(0); ; first = false {
		if pause(ctx, wait); ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		err := e.holdSession(ctx, first)
		switch {
		case errors.Is(err, pg.ErrPooled):
			return err
		case ctx.Err() != nil:
			return nil
		}
		e.metrics.LeaseSessionLost()
		e.troubled(ctx, "no lease session; nothing is sent until there is one", err)
		if wait = min(2*wait+250*time.Millisecond, 5*time.Second); time.Since(began) > 10*time.Second {
			wait = 250 * time.Millisecond
		}
	}
}

// holdSession opens a session and delivers under it until it is lost or ctx ends. All but the first follow a loss.
func (e *engine) holdSession(ctx context.Context, first bool) error {
	session, err := e.openSession(ctx)
	if err != nil {
		return err
	}
	defer func() {
		session.Close()
		e.lastSession = sessionLoss{server: session.ServerStart(), silent: session.FellSilent(), at: time.Now()}
	}()
	budget, err := pg.LockBudget(ctx, e.pool)
	if err != nil {
		return err
	}
	if !first {
		if err := e.rewind(ctx); err != nil {
			return err
		}
	}
	keeper := lease.New(ctx, lease.Config{
		ID: e.id, Session: session, Handler: e, MaxLeases: e.config.MaxLeases, Budget: budget,
		ShutdownTimeout: e.config.ShutdownTimeout, Weights: e.readWeights, Log: e.log, Wall: clock,
	})
	e.session.Store(session)
	e.keeper.Store(keeper)
	// By its context each delivery belongs to the keeper under which it began, whichever is current when it leaves.
	e.dispatcher.begin(deliver.WithGate(keeper.Context(), keeper.Valid))
	after := context.AfterFunc(ctx, func() { e.leaving.Store(true) })
	defer after()
	err = keeper.Run(ctx)
	e.keeper.Store(nil)
	e.saveMu.Lock() // a save under way would give back letters that are void
	defer e.saveMu.Unlock()
	e.dispatcher.reset()
	e.session.Store(nil)
	return err
}

// rewind has the head go back before anything is leased again.
func (e *engine) rewind(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case e.rewinds <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signOff takes this process off the list, if the database lets it.
func (e *engine) signOff(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := pg.DeleteProcess(ctx, e.pool, e.id); err != nil {
		e.log.Debug("could not take this process off the list", "error", pg.Sentence(err))
	}
}

func (e *engine) serveAdmin(ctx context.Context) error {
	if e.config.AdminAddr == "" {
		return nil
	}
	e.metrics.Watch(e.gauges())
	err := admin.Serve(ctx, admin.Config{
		Addr: e.config.AdminAddr, Token: e.config.AdminToken, Metrics: e.metrics, Ready: e.ready, Log: e.log,
		Overview:  (&overview{engine: e}).get,
		Listening: func(addr net.Addr) { e.log.Info("serving the page, health and metrics", "address", addr.String()) },
	})
	var taken *admin.ListenError
	if errors.As(err, &taken) {
		return &ConfigError{Variable: "SENDER_ADMIN_ADDR", Problem: fmt.Sprintf("%s can't be listened on: %s", taken.Addr, taken.Err)}
	}
	return err
}
