package page

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// busyShare is how much longer than its read a value is used: reading takes a twentieth of the time.
	busyShare = 20
	// longest is how long a value is used at most because reading it took long.
	longest = 15 * time.Second
	// stale is how old a value may be that is shown while a fresh one is read.
	stale = time.Minute
)

// shared is a value that costs the database the same for one viewer and for many: it is read when somebody asks and the
// last one is older than its age. Nobody asks, nothing is read.
type shared[T any] struct {
	age  time.Duration
	turn chan struct{} // who has it reads

	mu   sync.Mutex
	last *T            // nil: none, or one that is stale
	at   time.Time     // when it was read
	good time.Duration // how long it counts as fresh; 0: it must not be shown again
	// generation counts the calls of forget: what a read began before one has seen is not fresh.
	generation int
	drops      *time.Timer // gives its memory back
}

func newShared[T any](age time.Duration) *shared[T] {
	s := &shared[T]{age: age, turn: make(chan struct{}, 1)}
	s.drops = time.AfterFunc(stale, s.drop)
	return s
}

func (s *shared[T]) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) >= stale {
		s.last = nil
	}
}

// forget has the next look be a fresh one.
func (s *shared[T]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good = 0
	s.generation++
}

// peek returns the last value, whether it is as fresh as it must be, and whether it may be shown while a fresh one is read.
func (s *shared[T]) peek(now time.Time) (last *T, fresh, usable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last != nil && now.Sub(s.at) < s.good, s.last != nil && s.good > 0
}

func (s *shared[T]) current() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// get returns a value that is fresh, or the last one while another viewer waits for a fresh one. It reads on behalf of all, so
// the read goes on when this viewer leaves. wait holds a read up until it may begin, which is no cost of it; nil: it may at once.
func (s *shared[T]) get(ctx context.Context, wait func(context.Context) error, read func(ctx context.Context, last *T) T) (T, error) {
	last, fresh, usable := s.peek(time.Now())
	if fresh {
		return *last, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		if usable {
			return *last, nil
		}
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	if last, fresh, _ = s.peek(time.Now()); fresh {
		return *last, nil
	}
	if wait != nil {
		if err := wait(ctx); err != nil {
			var none T
			return none, err
		}
	}
	began, generation := time.Now(), s.current()
	value := read(context.WithoutCancel(ctx), last)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.at = &value, time.Now()
	if s.good = 0; s.generation == generation {
		s.good = max(s.age, min(longest, busyShare*s.at.Sub(began)))
	}
	s.drops.Reset(stale)
	return value, nil
}

// keyed are shared values by name, of which a bounded number is kept.
type keyed[T any] struct {
	mu    sync.Mutex
	age   time.Duration
	cache *lru.Cache[string, *shared[T]]
}

// maxKeyed instances are looked at by more people than there are.
const maxKeyed = 64

func newKeyed[T any](age time.Duration) *keyed[T] {
	cache, err := lru.New[string, *shared[T]](maxKeyed)
	if err != nil {
		panic(err) // a size below one
	}
	return &keyed[T]{age: age, cache: cache}
}

func (k *keyed[T]) of(name string) *shared[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.cache.Get(name); ok {
		return s
	}
	fresh := newShared[T](k.age)
	k.cache.Add(name, fresh)
	return fresh
}

// forget has the next look be a fresh one.
func (k *keyed[T]) forget(name string) { k.cache.Remove(name) }
