package lease_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sourcegraph/conc/panics"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a database server that knows sessions, advisory locks and one channel.
type server struct {
	mu        sync.Mutex
	sessions  []*session
	all       []*session // those that have ended included
	locks     map[int32]*session
	instances []int32
	tries     int // ids asked for, all processes together
	beats     int
	rings     int
	quiet     bool          // bells are lost
	dying     time.Duration // that a session needs to end when it is told to
	weights   lease.Weights
	reads     int // of the weights
	freed     map[int32]time.Time
	longest   int           // bell, in bytes
	clock     time.Duration // that the server's clock was set forward
	gap       time.Duration // the longest time that an instance was without a holder after it was unlocked
}

func newServer(instances int) *server {
	v := &server{locks: map[int32]*session{}, freed: map[int32]time.Time{}}
	for i := range instances {
		v.instances = append(v.instances, int32(i+1))
	}
	return v
}

// now is by the server's clock.
func (v *server) now() time.Time { return time.Now().Add(v.clock) }

// session is one process: its Session and its Handler.
type session struct {
	v      *server
	keeper *lease.Keeper
	stop   context.CancelFunc
	ended  chan error

	id      string
	pid     int32
	since   time.Time
	last    time.Time
	leaving bool
	most    int
	weights int64 // shown
	showErr error
	gone    chan struct{} // the server ended the session
	deaf    bool          // the process is not told of it
	far     time.Duration // that it takes to tell the process
	hang    bool          // calls do not return
	slow    time.Duration // of each call
	drain   time.Duration // of each Release
	refuse  error         // of Acquired
	lockErr error
	busy    bool           // heartbeats do not get their turn
	active  map[int32]bool // what the handler may send for
	moves   int            // ids released on purpose
}

func (v *server) start(t testing.TB, id string, change ...func(*lease.Config)) *session {
	t.Helper()
	s, begin := v.open(t, id, change...)
	begin()
	return s
}

// open opens a session whose keeper runs from begin on.
func (v *server) open(t testing.TB, id string, change ...func(*lease.Config)) (s *session, begin func()) {
	t.Helper()
	v.mu.Lock()
	s = &session{
		v: v, id: id, pid: int32(100 + len(v.sessions)), since: v.now(), last: v.now(),
		gone: make(chan struct{}), active: map[int32]bool{}, ended: make(chan error, 1),
	}
	cfg := lease.Config{ID: id, Session: s, Weights: v.readWeights, Handler: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, c := range change {
		c(&cfg)
	}
	s.most = cfg.MaxLeases
	ctx, stop := context.WithCancel(t.Context())
	s.keeper, s.stop = lease.New(ctx, cfg), stop
	v.sessions, v.all = append(v.sessions, s), append(v.all, s)
	v.mu.Unlock()
	return s, func() {
		go func() {
			var err error
			if recovered := panics.Try(func() { err = s.keeper.Run(ctx) }); recovered != nil {
				err = recovered.AsError()
			}
			s.ended <- err
		}()
	}
}

// end is what the server does when the session's process dies, or when it is told to.
func (v *server) end(s *session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sessions = slices.DeleteFunc(v.sessions, func(o *session) bool { return o == s })
	for id, holder := range v.locks {
		if holder == s {
			delete(v.locks, id)
		}
	}
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
}

// set runs change while no session is at work.
func (v *server) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *server) held(s *session) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, holder := range v.locks {
		if holder == s {
			n++
		}
	}
	return n
}

func (s *session) enter(ctx context.Context) error {
	s.v.mu.Lock()
	slow, hang := s.slow, s.hang
	s.v.mu.Unlock()
	if hang {
		slow = 2 * time.Second
	}
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-s.gone:
		return errors.New("conn closed")
	default:
	}
	if hang {
		return errors.New("timeout")
	}
	s.v.mu.Lock()
	s.last = s.v.now()
	s.v.mu.Unlock()
	return ctx.Err()
}

func (s *session) Lock(ctx context.Context, ids []int32) ([]int32, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	s.v.tries += len(ids)
	if len(ids) > 50_000 {
		return nil, errors.New("too many in one statement")
	}
	if s.lockErr != nil {
		return nil, s.lockErr
	}
	var got []int32
	for _, id := range ids {
		switch s.v.locks[id] {
		case nil:
			s.v.locks[id] = s
			got = append(got, id)
			if at, ok := s.v.freed[id]; ok {
				s.v.gap = max(s.v.gap, time.Since(at))
				delete(s.v.freed, id)
			}
		case s:
			panic(fmt.Sprintf("%s locks %d twice", s.id, id))
		}
	}
	return got, nil
}

func (s *session) Unlock(ctx context.Context, ids []int32, bell string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.v.mu.Lock()
	for _, id := range ids {
		if s.v.locks[id] != s || s.active[id] {
			panic(fmt.Sprintf("%s unlocks %d that it does not hold or still sends for", s.id, id))
		}
		delete(s.v.locks, id)
		s.v.freed[id] = time.Now()
	}
	s.v.mu.Unlock()
	if bell != "" {
		s.v.ring(bell)
	}
	return nil
}

func (s *session) Beat(ctx context.Context) ([]lease.Peer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	if s.busy {
		return nil, errors.New("the session is busy")
	}
	s.v.beats++
	var peers []lease.Peer
	for _, o := range s.v.sessions {
		p := lease.Peer{ID: o.id, PID: o.pid, Since: o.since, Mine: true, Self: o == s, Leaving: o.leaving, MaxLeases: o.most, Weights: o.weights, Age: s.v.now().Sub(o.since)}
		if o != s {
			p.IdleFor = max(0, s.v.now().Sub(o.last))
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func (s *session) Ring(ctx context.Context, payload string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.v.ring(payload)
	return nil
}

func (v *server) ring(payload string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rings++
	v.longest = max(v.longest, len(payload))
	for _, o := range v.sessions {
		if !v.quiet {
			o.keeper.Hear(payload)
		}
	}
}

func (s *session) Leave(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	s.leaving = true
	return nil
}

func (s *session) Show(ctx context.Context, version int64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	if s.showErr != nil {
		return s.showErr
	}
	s.weights = version
	return nil
}

func (v *server) readWeights(context.Context) (*lease.Weights, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	w := v.weights
	return &w, nil
}

func (s *session) Terminate(ctx context.Context, p lease.Peer) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.v.mu.Lock()
	i := slices.IndexFunc(s.v.sessions, func(o *session) bool { return o.pid == p.PID && o.since.Equal(p.Since) })
	var o *session
	if i >= 0 {
		o = s.v.sessions[i]
	}
	s.v.mu.Unlock()
	if o != nil {
		time.AfterFunc(s.v.dying, func() { s.v.end(o) })
	}
	return nil
}

func (s *session) Wait(ctx context.Context) error {
	gone := s.gone
	if s.deaf {
		gone = nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-gone:
		<-time.After(s.far)
		return errors.New("terminated by an administrator")
	}
}

func (s *session) Instances() []int32 {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	return s.v.instances
}

func (s *session) Acquired(_ context.Context, ids []int32) error {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	for _, id := range ids {
		for _, o := range s.v.all {
			if o != s && o.active[id] && o.keeper.Valid() {
				panic(fmt.Sprintf("%s and %s both may send to %d", s.id, o.id, id))
			}
		}
		s.active[id] = true
	}
	return nil
}

func (s *session) Release(ctx context.Context, ids []int32, released func([]int32)) error {
	s.v.mu.Lock()
	drain := s.drain
	s.v.mu.Unlock()
	var err error
	select {
	case <-time.After(drain):
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	for _, id := range ids {
		if !s.active[id] {
			panic(fmt.Sprintf("%s is asked to release %d that it was not given", s.id, id))
		}
		delete(s.active, id)
		s.moves++
	}
	released(ids)
	return err
}

// pass lets d go by in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// finish stops all processes and waits for them.
func (v *server) finish(t testing.TB) {
	t.Helper()
	v.mu.Lock()
	all := slices.Clone(v.sessions)
	v.mu.Unlock()
	for _, s := range all {
		s.stop()
		if err := <-s.ended; err != nil && !errors.Is(err, lease.ErrLost) {
			t.Error(err)
		}
		v.end(s)
	}
}
