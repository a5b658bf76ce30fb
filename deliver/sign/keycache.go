package sign

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// keyCache keeps keys in the form that a C library wants, so that each is parsed once. What it drops, because there are
// too many, is freed as soon as nobody signs with it. It is safe for several goroutines.
type keyCache struct {
	load func(*Key) (uintptr, error) // never returns 0 without an error
	free func(uintptr)

	mu   sync.Mutex
	kept *simplelru.LRU[fingerprint, *loadedKey]
}

// loadedKey is guarded by the mutex of its cache, but for the key itself.
type loadedKey struct {
	key     uintptr
	users   int
	dropped bool
}

func newKeyCache(most int, load func(*Key) (uintptr, error), free func(uintptr)) *keyCache {
	c := &keyCache{load: load, free: free}
	c.kept, _ = simplelru.NewLRU(most, func(_ fingerprint, l *loadedKey) { // fails for sizes below one
		l.dropped = true
		c.freeUnused(l)
	})
	return c
}

// use gives the loaded key to do, which must not keep it.
func (c *keyCache) use(key *Key, do func(uintptr) error) error {
	l, err := c.acquire(key)
	if err != nil {
		return err
	}
	defer c.release(l)
	return do(l.key)
}

func (c *keyCache) acquire(key *Key) (*loadedKey, error) {
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
	l := &loadedKey{key: loaded, users: 1}
	c.kept.Add(key.print, l)
	return l, nil
}

func (c *keyCache) find(key *Key) *loadedKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.kept.Get(key.print)
	if !ok {
		return nil
	}
	l.users++
	return l
}

func (c *keyCache) release(l *loadedKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	c.freeUnused(l)
}

func (c *keyCache) freeUnused(l *loadedKey) {
	if l.dropped && l.users == 0 {
		c.free(l.key)
		l.key = 0
	}
}

// drop lets go of all keys.
func (c *keyCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept.Purge()
}
