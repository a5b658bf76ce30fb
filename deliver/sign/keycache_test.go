package sign

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// heap counts what is loaded and freed, and fails on what no C library takes: a key that is used or freed after it was
// freed.
type heap struct {
	t    *testing.T
	mu   sync.Mutex
	next uintptr
	live map[uintptr]bool
}

func (h *heap) load(*Key) (uintptr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.live[h.next] = true
	return h.next, nil
}

func (h *heap) free(key uintptr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.live[key] {
		h.t.Errorf("key %d is freed and is not there", key)
	}
	delete(h.live, key)
}

func (h *heap) use(key uintptr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.live[key] {
		h.t.Errorf("key %d is used and is not there", key)
	}
	return nil
}

func (h *heap) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.live)
}

func TestKeyCache_LoadsEachKeyOnceAndFreesTheOldest(t *testing.T) {
	h := &heap{t: t, live: map[uintptr]bool{}}
	c := newKeyCache(2, h.load, h.free)
	a, b, d := testKey(t, "rsa1024"), testKey(t, "rsa2048"), testKey(t, "rsa2047")
	for range 3 {
		for _, key := range []*Key{a, b, testKey(t, "rsa2048-pkcs1")} { // the last is b in another form
			if err := c.use(key, h.use); err != nil {
				t.Fatal(err)
			}
		}
	}
	if h.next != 2 {
		t.Errorf("loaded %d times", h.next)
	}
	_ = c.use(d, h.use)
	if h.count() != 2 || h.live[1] {
		t.Errorf("there are %v", h.live)
	}
	c.drop()
	if h.count() != 0 {
		t.Errorf("%d are left", h.count())
	}
}

func TestKeyCache_KeyInUseIsFreedWhenItsLastUserIsDone(t *testing.T) {
	h := &heap{t: t, live: map[uintptr]bool{}}
	c := newKeyCache(1, h.load, h.free)
	a, b := testKey(t, "rsa1024"), testKey(t, "rsa2048")
	_ = c.use(a, func(first uintptr) error {
		return c.use(a, func(uintptr) error {
			_ = c.use(b, h.use) // drops a
			return h.use(first)
		})
	})
	if h.count() != 1 || !h.live[2] {
		t.Errorf("there are %v", h.live)
	}
}

func TestKeyCache_FailureIsNotKept(t *testing.T) {
	no := errors.New("no")
	c := newKeyCache(1, func(*Key) (uintptr, error) { return 0, no }, nil)
	if err := c.use(testKey(t, "rsa1024"), nil); !errors.Is(err, no) || c.kept.Len() != 0 {
		t.Errorf("got %v, %d are kept", err, c.kept.Len())
	}
}

func TestKeyCache_ManyAtOnce(t *testing.T) {
	h := &heap{t: t, live: map[uintptr]bool{}}
	c := newKeyCache(3, h.load, h.free)
	var keys []*Key
	for _, key := range testKeys(t) {
		keys = append(keys, key)
	}
	var group sync.WaitGroup
	var used atomic.Int32
	for i := range 16 {
		group.Go(func() {
			for j := range 500 {
				_ = c.use(keys[(i*j+j)%len(keys)], func(key uintptr) error {
					used.Add(1)
					return h.use(key)
				})
			}
		})
	}
	group.Wait()
	if used.Load() != 16*500 || h.count() != 3 {
		t.Errorf("used %d times, %d are left", used.Load(), h.count())
	}
	c.drop()
	if h.count() != 0 {
		t.Errorf("%d are left", h.count())
	}
}
