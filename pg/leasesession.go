package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// LeaseClass is the first key of every advisory lock that is a lease: "feds" in ASCII. The view fedsender.lease has
// the same number.
const LeaseClass int32 = 1717920627

const (
	// leaseTurnTimeout bounds the wait for another call on the session. Only Save can take that long.
	leaseTurnTimeout = time.Second
	// lastWordsTimeout is for what the server said before it closed the connection; it is here already, or it never comes.
	lastWordsTimeout = 20 * time.Millisecond
	// leaseCloseTimeout is for the goodbye; a server that does not take it closes the session on its own.
	leaseCloseTimeout = 2 * time.Second
)

var (
	// ErrReadOnly is matched where the database takes no writes at the moment: wait and try again.
	ErrReadOnly = errors.New("the database takes no writes: it is a standby, or default_transaction_read_only is on")
	// ErrPooled is matched where a pooler gives each transaction another server session. Waiting does not help.
	ErrPooled = errors.New("a pooler stands between this process and the database and changes the server session from one transaction to the next, " +
		"so leases can't be held; set SENDER_LEASE_DATABASE_URL to a direct connection (or one with pool_mode=session)")
	// ErrLockTableFull is matched where the server has no room for more locks. Fewer leases, or a larger setting, help.
	ErrLockTableFull = errors.New("the server's lock table is full; raise max_locks_per_transaction and restart the server")
	// ErrSessionLost is matched by every call on a session that has ended, and by Wait. Whatever was locked may belong to
	// another process by then.
	ErrSessionLost = errors.New("the lease session has ended")

	errHangup  = errors.New("the server closed the connection")
	errBusy    = errors.New("the lease session is busy")
	errClosed  = errors.New("closed by this process")
	errNotHeld = errors.New("the session did not hold what it had locked")
)

// LeaseSession is the one connection of a process that holds its leases and writes its cursors: when it ends the locks
// are gone, and so is the way to move a cursor. Its methods are safe for several goroutines; statements run one after
// the other. Each call ends within about 3 s. One that is cut off in the middle of a statement, by its time-out or by
// the end of ctx, ends the session.
type LeaseSession struct {
	id     string
	log    *slog.Logger
	conn   *pgx.Conn
	pid    int32 // of the server's backend
	server ServerID
	name   leaseName     // as the server has it; guarded by turn
	turn   chan struct{} // holds a token while a statement runs; a channel, because waiting for it must end with ctx

	alive context.Context // ends with the cause when the session is lost
	lose  context.CancelCauseFunc
}

// PID is the process id of the server's backend.
func (s *LeaseSession) PID() int32 { return s.pid }

// Server says which server holds the leases.
func (s *LeaseSession) Server() ServerID { return s.server }

// Abandon ends the session because of why, without waiting for a call under way. Close it all the same.
func (s *LeaseSession) Abandon(why error) { s.lose(why) }

// ServerStart is when the server was started: another one, or the same that was restarted, knows nothing of the leases of
// before.
func (s *LeaseSession) ServerStart() time.Time { return time.UnixMicro(s.server.Started) }

// FellSilent says of a session that was lost whether its server just did not answer any more, or not as one that takes
// writes. Then other processes may not know yet what this one knows. Otherwise the server ended the session and has told
// all that it has told this one.
func (s *LeaseSession) FellSilent() bool {
	var said *pgconn.PgError
	cause := context.Cause(s.alive)
	ended := errors.Is(cause, errHangup) || errors.As(cause, &said) || errors.Is(cause, io.ErrUnexpectedEOF)
	return !ended || errors.Is(cause, ErrReadOnly)
}

// Save runs the statements of batch on the lease connection, as one transaction and in one round trip. It is bounded to 2 s
// and does not end with ctx: a statement that is broken off would cost every lease. Parameters take their types from
// the statement, as with [ParseConfig]. After an error the transaction has not happened, unless the session was lost in
// the commit; then the database says what is true.
func (s *LeaseSession) Save(ctx context.Context, batch *pgx.Batch) error {
	return s.call(ctx, "save", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCallTimeout)
		defer cancel()
		return s.conn.SendBatch(ctx, batch).Close()
	})
}

// Ring tells every process that leases changed hands.
func (s *LeaseSession) Ring(ctx context.Context, payload string) error {
	return s.call(ctx, "ring for the other processes", func(ctx context.Context) error {
		_, err := s.conn.Exec(ctx, ringSQL, payload)
		return err
	})
}

// Wait blocks until the session is lost, and says why, or until ctx ends. On Linux it sees that the server closed the
// connection within milliseconds, whether or not another call is under way; it holds one thread for that. Elsewhere it
// sees what the next call meets.
func (s *LeaseSession) Wait(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.alive, stop)()
	if err := waitForHangup(watching, s.conn.PgConn().Conn()); err == nil {
		s.hangup()
	} else if watching.Err() == nil {
		if !errors.Is(err, net.ErrClosed) { // else a call met the end, and says so in a moment
			s.log.Warn("can't watch the lease connection; that it was closed is noticed at the next heartbeat", "error", err)
		}
		<-watching.Done()
	}
	if s.alive.Err() != nil {
		return s.lost()
	}
	return context.Cause(ctx)
}

// hangup notes that the server closed the connection and, if it can, what the server said.
func (s *LeaseSession) hangup() {
	said := errHangup
	timer := time.NewTimer(lastWordsTimeout)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
		ctx, cancel := context.WithTimeout(s.alive, lastWordsTimeout)
		if err := s.conn.PgConn().WaitForNotification(ctx); err != nil && ctx.Err() == nil {
			said = fmt.Errorf("%w: %w", said, err)
		}
		cancel()
		s.lose(said)
		<-s.turn
	case <-s.alive.Done(): // the call under way met it
	case <-timer.C:
		s.lose(said)
	}
}

func (s *LeaseSession) lost() error {
	return fmt.Errorf("%w: %w", ErrSessionLost, context.Cause(s.alive))
}

// Close ends the session, and with it every lease. It waits for a call under way, and may be called twice.
func (s *LeaseSession) Close() {
	s.lose(errClosed)
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.alive), leaseCloseTimeout)
	defer cancel()
	_ = s.conn.Close(ctx) // the socket is closed in any case
	select {
	case <-s.conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// call runs statements once it is their turn, each call with its own time-out: the time that it waited must not cut a
// statement short, which would end the session. what says in errors what failed.
func (s *LeaseSession) call(ctx context.Context, what string, statements func(ctx context.Context) error) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { <-s.turn }()
	ctx, cancel := context.WithTimeout(ctx, leaseCallTimeout)
	defer cancel()
	err := statements(ctx)
	if IsReadOnly(err) {
		// It was demoted, or told to take no writes: there is nothing to hold leases for, and another host may do better.
		err = s.end(ctx, err)
		if !errors.Is(err, ErrReadOnly) {
			err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
	}
	if s.conn.IsClosed() {
		if err == nil {
			err = errors.New("the connection is closed")
		}
		s.lose(fmt.Errorf("%s: %w", what, err))
	}
	switch {
	case err == nil:
		return nil
	case s.alive.Err() != nil:
		return s.lost()
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// enter waits for the turn.
func (s *LeaseSession) enter(ctx context.Context) error {
	timer := time.NewTimer(leaseTurnTimeout)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
	case <-s.alive.Done():
		return s.lost()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return errBusy
	}
	if err := ctx.Err(); err != nil {
		<-s.turn
		return context.Cause(ctx)
	}
	if s.alive.Err() != nil {
		<-s.turn
		return s.lost()
	}
	return nil
}
