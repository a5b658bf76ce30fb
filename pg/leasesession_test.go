package pg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

var _ lease.Session = (*pg.LeaseSession)(nil)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func parse(t *testing.T, dsn string) *pgx.ConnConfig {
	t.Helper()
	config, err := pg.ParseConfig(dsn)
	require.NoError(t, err)
	return config
}

func openLeaseSession(t *testing.T, config *pgx.ConnConfig, id string) *pg.LeaseSession {
	t.Helper()
	s, err := pg.OpenLeaseSession(t.Context(), config, id, 0, quiet())
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// admin is a connection that looks at the server from outside.
func admin(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), parse(t, dsn))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// locks counts the leases of one backend, or of all in this database where pid is 0.
func locks(t *testing.T, conn *pgx.Conn, pid int32) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), `
		select count(*)
		from pg_locks
		where locktype = 'advisory'
			and classid = 1717920627
			and database = (select oid from pg_database where datname = current_database())
			and (pid = $1::int or $1::int = 0)`, pid).Scan(&n))
	return n
}

func terminate(t *testing.T, conn *pgx.Conn, pid int32) {
	t.Helper()
	var done bool
	require.NoError(t, conn.QueryRow(t.Context(), `select pg_terminate_backend($1::int)`, pid).Scan(&done))
	require.True(t, done)
}

func instances(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i + 1)
	}
	return ids
}

// waiting runs Wait and hands over what it says.
func waiting(t *testing.T, s *pg.LeaseSession) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	work.Go(func() { ended <- s.Wait(ctx) })
	t.Cleanup(func() { stop(); work.Wait() })
	return ended
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened in 10 s")
		panic("unreachable")
	}
}

func peer(t *testing.T, s *pg.LeaseSession, id string) lease.Peer {
	t.Helper()
	peers, err := s.Beat(t.Context())
	require.NoError(t, err)
	for _, p := range peers {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("%s is not among %v", id, peers)
	panic("unreachable")
}

func TestLeaseSession_HoldsWhatItLockedUntilItIsUnlocked(t *testing.T) {
	dsn := postgres.Database(t)
	a, b := openLeaseSession(t, parse(t, dsn), "a"), openLeaseSession(t, parse(t, dsn), "b")
	look := admin(t, dsn)

	got, err := a.Lock(t.Context(), instances(6000))
	require.NoError(t, err)
	require.Len(t, got, 6000)
	got, err = b.Lock(t.Context(), []int32{1, 6000, 6001, 6002})
	require.NoError(t, err)
	require.ElementsMatch(t, []int32{6001, 6002}, got)
	require.Equal(t, 6002, locks(t, look, 0))

	require.NoError(t, a.Unlock(t.Context(), instances(5999), ""))
	require.Equal(t, 1, locks(t, look, a.PID()))
	got, err = b.Lock(t.Context(), []int32{1, 6000})
	require.NoError(t, err)
	require.Equal(t, []int32{1}, got)
	require.NoError(t, a.Unlock(t.Context(), []int32{6000}, ""))
	require.NoError(t, b.Unlock(t.Context(), []int32{1, 6001, 6002}, ""))
	require.Zero(t, locks(t, look, 0))
}

func TestLeaseSession_WhoHearsTheBellOfAnUnlockCanLock(t *testing.T) {
	dsn := postgres.Database(t)
	a, b := openLeaseSession(t, parse(t, dsn), "a"), openLeaseSession(t, parse(t, dsn), "b")
	listener := admin(t, dsn)
	execute(t, listener, `listen fedsender_lease`)
	for _, bell := range []string{"a b", strings.Repeat("x", 8000)} { // the server takes no such bell
		_, err := a.Lock(t.Context(), []int32{1})
		require.NoError(t, err)
		require.NoError(t, a.Unlock(t.Context(), []int32{1}, bell))
		if len(bell) < 8000 {
			heard, err := listener.WaitForNotification(t.Context())
			require.NoError(t, err)
			require.Equal(t, bell, heard.Payload)
		}
		got, err := b.Lock(t.Context(), []int32{1})
		require.NoError(t, err)
		require.Equal(t, []int32{1}, got)
		require.NoError(t, b.Unlock(t.Context(), []int32{1}, ""))
	}
}

func TestLeaseSession_UnlockOfWhatItDoesNotHoldEndsTheSession(t *testing.T) {
	a := openLeaseSession(t, parse(t, postgres.Database(t)), "a")
	require.ErrorIs(t, a.Unlock(t.Context(), []int32{1}, ""), pg.ErrSessionLost)
	require.ErrorIs(t, receive(t, waiting(t, a)), pg.ErrSessionLost)
}

func TestLeaseSession_WaitSeesWithinMillisecondsThatTheServerEndedIt(t *testing.T) {
	secure, err := postgres.Start(t.Context(), postgres.Options{TLS: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = secure.Close() })
	plain := postgres.Shared(t)
	for name, dsn := range map[string]string{
		"TCP":    plain.URL("postgres"),
		"TLS":    secure.URL("postgres"),
		"socket": plain.SocketURL("postgres"),
	} {
		t.Run(name, func(t *testing.T) {
			look := admin(t, dsn)
			// That the process is late to read what the server said, on a machine that is busy, costs only the words.
			for try := 0; !seesWhyItEnded(t, look, dsn); try++ {
				require.Less(t, try, 5, "what the server said is lost")
			}
		})
	}
}

// seesWhyItEnded ends a session on the server and says whether the process was told why.
func seesWhyItEnded(t *testing.T, look *pgx.Conn, dsn string) bool {
	s := openLeaseSession(t, parse(t, dsn), "a")
	ended := waiting(t, s)
	// Calls run beside Wait.
	_, err := s.Lock(t.Context(), instances(10))
	require.NoError(t, err)
	began := time.Now()
	terminate(t, look, s.PID())
	err = receive(t, ended)
	t.Logf("seen after %v: %v", time.Since(began), err)
	require.ErrorIs(t, err, pg.ErrSessionLost)
	require.False(t, s.FellSilent())
	require.Less(t, time.Since(began), time.Second)
	require.ErrorIs(t, s.Save(t.Context(), statements(`select 1`)), pg.ErrSessionLost)
	_, beat := s.Beat(t.Context())
	require.ErrorIs(t, beat, pg.ErrSessionLost)
	return strings.Contains(err.Error(), "57P01")
}

func TestLeaseSession_WaitSeesTheEndBesideACall(t *testing.T) {
	dsn := postgres.Database(t)
	s := openLeaseSession(t, parse(t, dsn), "a")
	look := admin(t, dsn)
	ended, saved := waiting(t, s), make(chan error, 1)
	go func() { saved <- s.Save(t.Context(), statements(`select pg_sleep(1)`)) }()
	require.Eventually(t, func() bool {
		var inside bool
		err := look.QueryRow(t.Context(), `select wait_event is not distinct from 'PgSleep' from pg_stat_activity where pid = $1`, s.PID()).Scan(&inside)
		return err == nil && inside
	}, time.Minute, time.Millisecond)
	terminate(t, look, s.PID())
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
	require.ErrorIs(t, receive(t, saved), pg.ErrSessionLost)
}

func TestLeaseSession_WaitSeesACutLink(t *testing.T) {
	config := parse(t, postgres.Database(t))
	l := newLink(t, config)
	s := openLeaseSession(t, config, "a")
	ended := waiting(t, s)
	l.cut()
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
}

func TestLeaseSession_WaitEndsWithItsContextAndWithClose(t *testing.T) {
	s := openLeaseSession(t, parse(t, postgres.Database(t)), "a")
	ctx, stop := context.WithCancelCause(t.Context())
	ended, enough := make(chan error, 1), errors.New("enough")
	go func() { ended <- s.Wait(ctx) }()
	stop(enough)
	require.ErrorIs(t, receive(t, ended), enough)
	_, err := s.Beat(t.Context())
	require.NoError(t, err)

	again := waiting(t, s)
	s.Close()
	s.Close()
	require.ErrorIs(t, receive(t, again), pg.ErrSessionLost)
}

func TestLeaseSession_CrashOfTheServerEndsIt(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s := openLeaseSession(t, parse(t, server.URL("postgres")), "a")
	ended := waiting(t, s)
	require.NoError(t, server.Kill())
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
	require.False(t, s.FellSilent(), "every other session was closed too")
}

func TestLeaseSession_SilentLinkEndsTheCallAndTheSession(t *testing.T) {
	config := parse(t, postgres.Database(t))
	l := newLink(t, config)
	s := openLeaseSession(t, config, "a")
	ended := waiting(t, s)
	l.block()
	began := time.Now()
	_, err := s.Beat(t.Context())
	require.ErrorIs(t, err, pg.ErrSessionLost)
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
	require.Less(t, time.Since(began), 4*time.Second)
	require.True(t, s.FellSilent())
}

func TestLeaseSession_SaveWritesAllOrNothingAndASlowStatementCostsNoLease(t *testing.T) {
	dsn := postgres.Database(t)
	s := openLeaseSession(t, parse(t, dsn), "a")
	look := admin(t, dsn)
	_, err := look.Exec(t.Context(), `create table public.cursor (id int primary key, at bigint)`)
	require.NoError(t, err)
	const insert = `insert into public.cursor values (1, 10), (2, 20)`
	rows := func() (n int) {
		require.NoError(t, look.QueryRow(t.Context(), `select count(*) from cursor`).Scan(&n))
		return n
	}

	slow := s.Save(t.Context(), statements(insert, `select pg_sleep(1.8)`))
	require.ErrorContains(t, slow, "statement timeout")
	require.NotErrorIs(t, slow, pg.ErrSessionLost)
	require.Zero(t, rows())
	require.ErrorContains(t, s.Save(t.Context(), statements(insert, `select 1/0`)), "division by zero")
	require.Zero(t, rows())
	unread := statements(insert)
	stop := errors.New("can't read that")
	unread.Queue(`select 1`).Query(func(pgx.Rows) error { return stop })
	require.ErrorIs(t, s.Save(t.Context(), unread), stop)
	require.Equal(t, 2, rows(), "what the answer was is too late to stop it")
	_, err = look.Exec(t.Context(), `delete from cursor`)
	require.NoError(t, err)
	require.NoError(t, s.Save(t.Context(), statements(insert)))
	require.Equal(t, 2, rows())
}

// statements is what a save runs.
func statements(all ...string) *pgx.Batch {
	batch := &pgx.Batch{}
	for _, one := range all {
		batch.Queue(one)
	}
	return batch
}

func TestLeaseSession_CallerThatGivesUpBreaksNoSaveOff(t *testing.T) {
	s := openLeaseSession(t, parse(t, postgres.Database(t)), "a")
	ctx, stop := context.WithCancel(t.Context())
	batch := &pgx.Batch{}
	batch.Queue(`select 1`).Query(func(rows pgx.Rows) error {
		stop()
		rows.Close()
		return rows.Err()
	})
	batch.Queue(`select pg_sleep(0.1)`)
	require.NoError(t, s.Save(ctx, batch))
	require.ErrorIs(t, s.Save(ctx, statements(`select 1`)), context.Canceled)
	_, err := s.Beat(t.Context())
	require.NoError(t, err)
}

func TestLeaseSession_PeersSeeEachOtherLeaveAndEnd(t *testing.T) {
	dsn := postgres.Database(t)
	a, b := openLeaseSession(t, parse(t, dsn), "a-1"), openLeaseSession(t, parse(t, dsn), "b_2")
	openLeaseSession(t, parse(t, postgres.Database(t)), "elsewhere")
	look := admin(t, dsn)
	_, err := look.Exec(t.Context(), `select pg_sleep(0.02)`)
	require.NoError(t, err)

	peers, err := a.Beat(t.Context())
	require.NoError(t, err)
	require.Len(t, peers, 2)
	self, other := peer(t, a, "a-1"), peer(t, a, "b_2")
	require.True(t, self.Self && self.Mine && !self.Leaving && self.IdleFor == 0 && self.PID == a.PID(), "%+v", self)
	require.True(t, !other.Self && other.Mine && !other.Leaving && other.PID == b.PID(), "%+v", other)
	require.Greater(t, other.IdleFor, 20*time.Millisecond)
	require.Less(t, other.IdleFor, time.Minute)
	require.WithinDuration(t, time.Now(), other.Since, time.Minute)

	stale := other
	stale.Since = stale.Since.Add(-time.Microsecond)
	require.NoError(t, a.Terminate(t.Context(), stale))
	require.NoError(t, b.Leave(t.Context()))
	require.True(t, peer(t, a, "b_2").Leaving)
	ended := waiting(t, b)
	require.NoError(t, a.Terminate(t.Context(), other))
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
	require.NoError(t, a.Terminate(t.Context(), other), "a session that is gone is no error")
}

func TestLeaseSession_OrdinaryRoleWorksAndEndsNobodyElse(t *testing.T) {
	dsn := postgres.Database(t)
	look := admin(t, dsn)
	role := fmt.Sprintf("ordinary_%d", time.Now().UnixNano())
	_, err := look.Exec(t.Context(), `create role `+role+` login`)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = look.Exec(context.WithoutCancel(t.Context()), `drop role `+role) })
	config := parse(t, dsn)
	config.User = role
	a, again, super := openLeaseSession(t, config, "a"), openLeaseSession(t, config, "again"), openLeaseSession(t, parse(t, dsn), "super")

	got, err := a.Lock(t.Context(), instances(100))
	require.NoError(t, err)
	require.Len(t, got, 100)
	hidden := peer(t, a, "super")
	require.True(t, hidden.PID == super.PID() && !hidden.Mine && hidden.IdleFor == 0 && hidden.Since.IsZero(), "%+v", hidden)
	require.Error(t, a.Terminate(t.Context(), hidden))
	mine := peer(t, a, "again")
	require.True(t, mine.Mine && !mine.Since.IsZero(), "%+v", mine)
	ended := waiting(t, again)
	require.NoError(t, a.Terminate(t.Context(), mine))
	require.ErrorIs(t, receive(t, ended), pg.ErrSessionLost)
	a.Close()
	require.Eventually(t, func() bool { return locks(t, look, 0) == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestLeaseSession_FullLockTableLeavesNothingBehind(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{
		"max_locks_per_transaction": "10", "max_connections": "10", "superuser_reserved_connections": "0",
	}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s := openLeaseSession(t, parse(t, server.URL("postgres")), "a")
	look := admin(t, server.URL("postgres"))
	kept, err := s.Lock(t.Context(), []int32{30_001, 30_002})
	require.NoError(t, err)
	require.Len(t, kept, 2)

	got, err := s.Lock(t.Context(), instances(20_000))
	require.ErrorIs(t, err, pg.ErrLockTableFull)
	require.ErrorContains(t, err, "max_locks_per_transaction")
	require.Empty(t, got)
	require.Equal(t, 2, locks(t, look, 0), "what it held before is all that it holds")
	got, err = s.Lock(t.Context(), instances(50))
	require.NoError(t, err, "the session lives")
	require.Len(t, got, 50)
	require.NoError(t, s.Unlock(t.Context(), append(got, kept...), ""))
	require.Zero(t, locks(t, look, 0))

	budget, err := pg.LockBudget(t.Context(), look)
	require.NoError(t, err)
	require.Equal(t, 10*10/2, budget)
}

func TestLeaseSession_AsksTheServerToNoticeVanishedHosts(t *testing.T) {
	dsn := postgres.Database(t)
	s := openLeaseSession(t, parse(t, dsn), strings.Repeat("i", 30))
	want := map[string]string{
		"tcp_keepalives_idle": "6", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "2", "tcp_user_timeout": "10000",
		"statement_timeout": "1500", "lock_timeout": "300", "idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0",
		"transaction_timeout": "0", "synchronous_commit": "off", "search_path": "pg_catalog, pg_temp",
	}
	batch := &pgx.Batch{}
	for name, value := range want {
		batch.Queue(`select setting from pg_settings where name = $1`, name).Query(func(rows pgx.Rows) error {
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if len(got) == 1 && got[0] != value {
				t.Errorf("%s is %s", name, got[0])
			}
			return err
		})
	}
	require.NoError(t, s.Save(t.Context(), batch))
	require.NoError(t, s.Leave(t.Context()))
	require.True(t, peer(t, s, strings.Repeat("i", 30)).Leaving, "the longest id is cut")
}
