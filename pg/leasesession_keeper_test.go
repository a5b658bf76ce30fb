package pg_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// holder has nothing to do with what it is given.
type holder struct{ ids []int32 }

func (h holder) Instances() []int32                      { return h.ids }
func (h holder) Acquired(context.Context, []int32) error { return nil }

func (h holder) Release(_ context.Context, ids []int32, released func([]int32)) error {
	released(ids)
	return nil
}

// process is a keeper on a session of its own.
type process struct {
	session *pg.LeaseSession
	keeper  *lease.Keeper
	stop    context.CancelFunc
	ended   chan error
}

func startProcess(t *testing.T, config *pgx.ConnConfig, id string, ids []int32) *process {
	t.Helper()
	p := &process{session: openLeaseSession(t, config, id), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	p.keeper = lease.New(ctx, lease.Config{ID: id, Session: p.session, Handler: holder{ids}, Log: quiet()})
	var work sync.WaitGroup
	work.Go(func() { p.ended <- p.keeper.Run(ctx) })
	listening, deafen := context.WithCancel(t.Context())
	nothing := func() {}
	work.Go(func() {
		_ = pg.Listen(listening, func() *pgx.ConnConfig { return config }, pg.Bells{Lease: p.keeper.Hear, Activity: nothing, Change: nothing, Doorbell: nothing}, quiet())
	})
	t.Cleanup(func() { stop(); deafen(); work.Wait() })
	return p
}

// heldBy waits until each process holds about as many as wanted, and together all of them.
func heldBy(t *testing.T, look *pgx.Conn, want int, processes ...*process) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, p := range processes {
			if n := locks(t, look, p.session.PID()); n < want*9/10 || n > want*11/10+1 {
				return false
			}
		}
		return locks(t, look, 0) == want*len(processes)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestLeaseSession_TwoKeepersShareAndOneTakesOverWhenTheOtherIsTerminated(t *testing.T) {
	dsn := postgres.Database(t)
	look := admin(t, dsn)
	a, b := startProcess(t, parse(t, dsn), "a", instances(200)), startProcess(t, parse(t, dsn), "b", instances(200))
	heldBy(t, look, 100, a, b)

	began := time.Now()
	terminate(t, look, a.session.PID())
	receive(t, a.keeper.Context().Done())
	t.Logf("the context ended after %v", time.Since(began))
	require.Less(t, time.Since(began), time.Second)
	require.False(t, a.keeper.Valid())
	require.ErrorIs(t, receive(t, a.ended), lease.ErrLost)
	require.Error(t, a.session.Save(t.Context(), statements(`select 1`)))
	heldBy(t, look, 200, b)
	t.Logf("the other one had everything after %v", time.Since(began))

	// The same process comes back on another session.
	again := startProcess(t, parse(t, dsn), "a", instances(200))
	heldBy(t, look, 100, again, b)
	b.stop()
	require.NoError(t, receive(t, b.ended))
	heldBy(t, look, 200, again)
	again.stop()
	require.NoError(t, receive(t, again.ended))
	require.Zero(t, locks(t, look, 0), "a lock was taken more often than given up")
}

func TestLeaseSession_KeeperWhoseLinkIsCutStopsAndTheOtherTakesOver(t *testing.T) {
	dsn := postgres.Database(t)
	look := admin(t, dsn)
	config := parse(t, dsn)
	l := newLink(t, config)
	a, b := startProcess(t, config, "a", instances(200)), startProcess(t, parse(t, dsn), "b", instances(200))
	heldBy(t, look, 100, a, b)
	began := time.Now()
	l.cut()
	receive(t, a.keeper.Context().Done())
	t.Logf("the context ended after %v", time.Since(began))
	require.ErrorIs(t, receive(t, a.ended), lease.ErrLost)
	heldBy(t, look, 200, b)
}

func TestLeaseSession_CallsFromManyGoroutinesTakeTurns(t *testing.T) {
	dsn := postgres.Database(t)
	s := openLeaseSession(t, parse(t, dsn), "a")
	look := admin(t, dsn)
	ended := waiting(t, s)
	var work sync.WaitGroup
	failed := make(chan error, 1000)
	for worker := range int32(8) {
		work.Go(func() {
			for round := range int32(20) {
				id := worker*100 + round
				got, err := s.Lock(t.Context(), []int32{id})
				if err == nil && len(got) != 1 {
					err = fmt.Errorf("%d was not free", id)
				}
				failed <- err
				failed <- s.Save(t.Context(), statements(`select 1`))
				_, err = s.Beat(t.Context())
				failed <- err
				failed <- s.Ring(t.Context(), "a")
				failed <- s.Unlock(t.Context(), []int32{id}, "")
			}
		})
	}
	work.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	require.Zero(t, locks(t, look, 0))
	select {
	case err := <-ended:
		t.Fatal(err)
	default:
	}
}
