package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
)

const (
	// firstRetry and slowestRetry are between two attempts to open a lease session. While the server is away each costs a
	// refused connection.
	firstRetry   = 250 * time.Millisecond
	slowestRetry = 2 * time.Second
	// spreadEach and longestSpread keep processes that lost their sessions together from coming back together: opening one
	// takes the server some 10 ms, a process start of its own included.
	spreadEach    = 20 * time.Millisecond
	longestSpread = 2 * time.Second
	// rewindTimeout is far above what the head needs, and below the 30 s after which other processes end a session without
	// a heartbeat.
	rewindTimeout = 20 * time.Second
)

var errSlowHead = errors.New("the activities could not be read again in time")

// holdLeases opens one lease session after the other until ctx ends. What it returns then is nil or an error that
// another session would meet too.
func (e *engine) holdLeases(ctx context.Context) error {
	first, peers := true, 0
	for wait := time.Duration(0); ; first = false {
		if pause(ctx, wait); ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		present, err := e.holdSession(ctx, first)
		switch {
		case errors.Is(err, pg.ErrPooled):
			return err
		case ctx.Err() != nil:
			return nil
		}
		e.metrics.LeaseSessionLost()
		e.troubled(ctx, "no lease session; nothing is sent until there is one", err)
		wait = nextRetry(wait)
		if peers = max(peers, present); present > 0 && time.Since(began) > slowestRetry {
			wait = firstRetry
		}
		pause(ctx, spread(peers))
	}
}

func nextRetry(wait time.Duration) time.Duration { return min(2*wait+firstRetry, slowestRetry) }

// spread is a random part of the time that so many processes need to come back one after the other.
func spread(processes int) time.Duration {
	return rand.N(min(time.Duration(processes)*spreadEach, longestSpread) + 1)
}

// holdSession opens a session and delivers under it until it is lost or ctx ends. All but the first follow a loss. It
// returns how many processes were there.
func (e *engine) holdSession(ctx context.Context, first bool) (present int, err error) {
	session, err := e.openSession(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		session.Close()
		e.lastSession = sessionLoss{server: session.ServerStart(), silent: session.FellSilent(), at: time.Now()}
		if e.lastSession.silent {
			e.hosts.Lost(session)
		}
	}()
	if err := e.follow(ctx, session, first); err != nil {
		return 0, err
	}
	defer e.anchor.Store(nil)
	budget, err := pg.LockBudget(ctx, e.pool)
	if err != nil {
		return 0, err
	}
	e.back.raise()
	if !first {
		if err := e.rewind(ctx, session); err != nil {
			return 0, err
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
	e.left.unwritten.Store(0) // whoever follows has begun where the database is
	after := context.AfterFunc(ctx, func() { e.leaving.Store(true) })
	defer after()
	var listening conc.WaitGroup
	if !e.unheard {
		listening.Go(func() { e.listen(keeper.Context()) })
	}
	defer listening.Wait()
	err = keeper.Run(ctx)
	if err != nil {
		e.lost.Store(time.Now().UnixNano())
		e.adrift.Store(true)
	}
	e.keeper.Store(nil)
	e.saveMu.Lock() // a save under way would give back letters that are void
	defer e.saveMu.Unlock()
	e.left.unwritten.Add(e.dispatcher.unwritten(nil))
	e.dispatcher.reset()
	e.session.Store(nil)
	return len(keeper.Status().Peers), err
}

// follow makes all other connections lead to the server of the lease session: of two that both answer, such as a primary
// that was replaced and does not know it, one must not be read while the leases are held on the other.
func (e *engine) follow(ctx context.Context, session *pg.LeaseSession, first bool) error {
	e.anchor.Store(session)
	server := session.Server()
	if before := e.latest.Swap(&server); before != nil && !before.Is(server) {
		e.cutter.Renew() // that one may never answer what still waits for it, such as the head
	}
	if !first {
		e.pool.Reset()
	}
	reached, err := pg.ReadServerID(ctx, e.pool)
	if err == nil && !reached.Is(server) {
		// A pooler's connections are not the ones that were looked at when they were made.
		err = pg.ErrOtherServer
	}
	if err != nil {
		e.anchor.Store(nil)
		return fmt.Errorf("reach the server of the leases: %w", pg.Explain(err, e.poolConfig))
	}
	return nil
}

// admit is asked for every connection but that of the leases.
func (e *engine) admit(server pg.ServerID) error {
	if session := e.anchor.Load(); session != nil && !session.Server().Is(server) {
		return pg.ErrOtherServer
	}
	return e.admitLeases(server)
}

// admitLeases is asked for the connection of the leases: a primary that was replaced, and does not know it, may be the first
// that answers.
func (e *engine) admitLeases(server pg.ServerID) error {
	if !server.NamesSystem() {
		e.nameless.Do(func() {
			e.log.Warn("the server does not say which system and timeline it belongs to: a primary that was replaced and goes on is not recognised; sender doctor names what to grant")
		})
	}
	if latest := e.latest.Load(); latest != nil && latest.Replaces(server) {
		return pg.ErrReplaced
	}
	return nil
}

// listen hears the bells as long as there are leases.
func (e *engine) listen(ctx context.Context) {
	rung := func() {
		e.metrics.Bell()
		e.ringHead()
	}
	config := func() *pgx.ConnConfig {
		config := e.directLogin(e.admit)
		config.RuntimeParams["application_name"] = "fedsender listener " + e.config.Name
		return config
	}
	err := pg.Listen(ctx, config, pg.Bells{Activity: rung, Change: rung, Doorbell: rung, Lease: e.hearLeases}, e.log)
	if err != nil {
		e.troubled(ctx, "stopped listening for news; looking for them instead", err)
	}
}

// rewind has the head go back before anything is leased again. It gives up when the session is lost meanwhile: the head
// insists, and can't get anywhere but to that session's server.
func (e *engine) rewind(ctx context.Context, session *pg.LeaseSession) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	var watch conc.WaitGroup
	defer watch.Wait()
	defer giveUp(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, rewindTimeout, errSlowHead)
	defer cancel()
	watch.Go(func() {
		if err := session.Wait(ctx); ctx.Err() == nil {
			giveUp(err)
		}
	})
	done := make(chan struct{})
	select {
	case e.rewinds <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
