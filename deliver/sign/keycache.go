package sign

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// keyCache keeps keys in the form that a C library wants, so that each is parsed once. What it drops, because there are
// too many, is freed as soon as nobody signs with it. It is safe for several goroutines.
type keyCache[T any] struct {
	load func(*Key) (T, error)
	free func(T)

	mu   sync.Mutex
	kept *simplelru.LRU[fingerprint, *loadedKey[T]]
}

// loadedKey is guarded by the mutex of its cache, but for the key itself.
type loadedKey[T any] struct {
	key     T
	users   int
	dropped bool
}

func newKeyCache[T any](most int, load func(*Key) (T, error), free func(T)) *keyCache[T] {
	c := &keyCache[T]{load: load, free: free}
	c.kept, _ = simplelru.NewLRU(most, func(_ fingerprint, l *loadedKey[T]) { // fails for sizes below one
		l.dropped = true
		c.freeUnused(l)
	})
	return c
}

// use gives the loaded key to do, which must not keep it.
func (c *keyCache[T]) use(key *Key, do func(T) error) error {
	l, err := c.acquire(key)
	if err != nil {
		return err
	}
	defer c.release(l)
	return do(l.key)
}

func (c *keyCache[T]) acquire(key *Key) (*loadedKey[T], error) {
	if l := c.find(key); l != nil {
		return l, nil
	}
	loaded, err := c.load(key) // not under the lock: others sign meanwhile
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.kept.Get(key.print); ok { // another one was faster
		c.free(loaded)
		l.users++
		return l, nil
	}
	l := &loadedKey[T]{key: loaded, users: 1}
	c.kept.Add(key.print, l)
	return l, nil
}

func (c *keyCache[T]) find(key *Key) *loadedKey[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.kept.Get(key.print)
	if !ok {
		return nil
	}
	l.users++
	return l
}

func (c *keyCache[T]) release(l *loadedKey[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	c.freeUnused(l)
}

func (c *keyCache[T]) freeUnused(l *loadedKey[T]) {
	if l.dropped && l.users == 0 {
		c.free(l.key)
		var none T
		l.key = none
	}
}

// drop lets go of all keys.
func (c *keyCache[T]) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept.Purge()
}
