package sender

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

const (
	// startTimeout is how long a database that does not answer is waited for at the start. A wrong host looks the same
	// and should be seen; longer outages are for whoever restarts this process.
	startTimeout = 10 * time.Second
	startPause   = 250 * time.Millisecond
	// longestStartPause is between two looks at a server that says that it is not ready, such as a standby.
	longestStartPause = 5 * time.Second
)

// await opens the feed. Where ctx ends before, there is no feed and no error.
func (e *engine) await(ctx context.Context) (feed *pg.Feed, err error) {
	err = e.insistAtStart(ctx, func(ctx context.Context) (err error) {
		feed, err = e.open(ctx)
		return err
	})
	if err == nil && feed != nil {
		e.log.Info("starting", "name", e.config.Name, "version", e.config.Version, "gomaxprocs", runtime.GOMAXPROCS(0), "gomemlimit", memoryLimit())
		if source := e.source.Load(); !source.Rings {
			e.saySilent(source)
		}
		e.lookBack(ctx)
	}
	return feed, err
}

// memoryLimit is what Go tries to keep below, in bytes, or off, as GOMEMLIMIT says it.
func memoryLimit() any {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	return "off"
}

// insistAtStart tries do until it succeeds, as long as that may help: for ever where the server says that it is not ready,
// for a while where there is no answer or somebody keeps a lock. It returns nil where ctx ends.
func (e *engine) insistAtStart(ctx context.Context, do func(context.Context) error) error {
	began := time.Now()
	for wait := startPause; ; wait = min(2*wait, longestStartPause) {
		err := pg.Explain(do(ctx), e.poolConfig)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case pg.TablesChanged(err) && !errors.Is(err, pg.ErrTablesChanged):
			return fmt.Errorf("%w (%s)", pg.ErrTablesChanged, pg.Sentence(err))
		case pg.IsNotReady(err):
			began = time.Now()
		case !pg.IsLost(err) && !pg.IsLocked(err) || time.Since(began) > startTimeout:
			return err
		default:
			wait = min(wait, startPause*2)
		}
		e.troubled(ctx, "waiting for the database", err)
		pause(ctx, wait)
	}
}

// open makes sure that the connections are what they must be, checks the schema, reads the source and makes what depends on
// it: the client and the feed.
func (e *engine) open(ctx context.Context) (*pg.Feed, error) {
	if err := e.pool.Ping(ctx); err != nil {
		return nil, err
	}
	if err := e.makeRoom(ctx); err != nil {
		return nil, err
	}
	if err := pg.CheckLeaseConnection(ctx, e.logins.lease.Load()); err != nil {
		return nil, err
	}
	if err := pg.CheckTransactions(ctx, e.pool); errors.Is(err, pg.ErrStatementPooled) {
		return nil, &ConfigError{Variable: "DATABASE_URL", Problem: err.Error()}
	} else if err != nil {
		return nil, err
	}
	if err := pg.CheckSchema(ctx, e.pool); err != nil {
		return nil, err
	}
	source, err := pg.ReadSource(ctx, e.pool)
	if err != nil {
		return nil, err
	}
	if want := pg.SourceName(e.config.Source); want != "" && want != "auto" && want != source.Name {
		return nil, &ConfigError{Variable: "SENDER_SOURCE", Problem: fmt.Sprintf("is %s, but the schema is made for %s; unset it", want, source.Name)}
	}
	feed, err := pg.NewFeed(ctx, e.pool, source, pg.Snapshot{}, e.log)
	if err != nil {
		return nil, err
	}
	if e.client, err = e.newClient(&source); err != nil {
		return nil, err
	}
	e.obey(&source)
	feed.Fenced = e.metrics.Fence
	return feed, nil
}

// obey goes by the source from here on. The client, and the workers of what is held, go on as they were made.
func (e *engine) obey(source *pg.Source) {
	e.rules.Store(&worker.Rules{UnauthorizedTries: source.UnauthorizedTries, DeadAfterFailures: source.DeadAfterFailures})
	e.source.Store(source)
}

// makeRoom lets the pool take what the role may have beside the lease session and the listener. Of two connections the
// lease session has one, because nothing is sent without it, and nobody listens.
func (e *engine) makeRoom(ctx context.Context) error {
	limit, err := pg.ReadConnectionLimit(ctx, e.pool)
	switch {
	case err != nil:
		return err
	case limit.Lacks(pg.LeastConns):
		return fmt.Errorf("the %s and a process needs %d; %s", limit, pg.LeastConns, limit.Remedy())
	case !limit.Lacks(pg.ProcessConns):
		return nil
	}
	rest := max(1, limit.Most-(pg.ProcessConns-pg.PoolConns))
	if e.pool.Config().MaxConns == int32(rest) {
		return nil
	}
	cost := "what is read waits for its turn"
	if e.unheard = limit.Lacks(rest + pg.ProcessConns - pg.PoolConns); e.unheard {
		cost = "nobody listens for news: it is looked for instead"
	}
	e.log.Warn("the "+limit.String()+", which is few", "used", pg.ProcessConns, "cost", cost, "remedy", limit.Remedy())
	smaller, err := pg.NewPool(ctx, e.poolConfig, rest, e.poolLogin)
	if err != nil {
		return err
	}
	e.pool.Close()
	e.pool = smaller
	return nil
}
