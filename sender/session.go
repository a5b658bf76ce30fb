package sender

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
)

// sessionLoss is how the last lease session ended.
type sessionLoss struct {
	server time.Time // when its server was started; zero: there was no session yet
	silent bool      // the server did not answer any more
	at     time.Time
}

// openSession opens the next lease session. Where the server of the last one fell silent and another one answers now, such
// as a replica that was promoted, it first lets the time pass for which other processes may still deliver on the word of
// the one before: its locks mean nothing to this one.
func (e *engine) openSession(ctx context.Context) (*pg.LeaseSession, error) {
	for {
		session, err := pg.OpenLeaseSession(ctx, e.directLogin(e.admitLeases), e.id, e.config.MaxLeases, e.log)
		if err != nil {
			return nil, pg.Explain(err, e.logins.lease.Load())
		}
		last := e.lastSession
		wait := time.Until(last.at.Add(lease.Term))
		if last.server.IsZero() || !last.silent || last.server.Equal(session.ServerStart()) || wait <= 0 {
			return session, nil
		}
		session.Close() // meanwhile nobody should count on this process
		e.log.Info("the database server that had the leases was lost without a word, and another one, or the same started anew, answers; waiting until no process can deliver under leases of before", "wait", wait.Round(time.Millisecond))
		if pause(ctx, wait*5/4+time.Millisecond); ctx.Err() != nil { // pause may take a fifth less
			return nil, ctx.Err()
		}
	}
}
