package sign

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// checkEvery is how many signatures one is checked of: a check costs a tenth of an RSA signature of libcrypto's, so
	// that one in 64 costs less than the noise, and a library that lies is found within a second of work.
	checkEvery = 64
	// maxKnown bounds what is remembered of keys, some 100 bytes each.
	maxKnown = 4096
)

// Fault is what a [Checked] saw go wrong.
type Fault struct {
	Err error
	// GivenUp says that the backend is not used any more, because it made a wrong signature or panicked. Otherwise it only
	// refused a key, and is not asked again for that one.
	GivenUp bool
}

// Checked signs RSA with a fast backend and trusts it no further than it must: the first signature of each key and then
// one in [checkEvery] is checked before anybody gets it. What the fast one can't sign, or signs wrongly, the sure one
// signs, so that the request notices nothing. A crash inside a C library is beyond it, and ends the process.
//
// Ed25519 goes to the sure one at once: crypto/ed25519 is faster than libcrypto's.
type Checked struct {
	fast, sure Backend
	fault      func(Fault)

	broken atomic.Bool
	made   atomic.Uint64 // by the fast one

	mu    sync.Mutex
	known *simplelru.LRU[fingerprint, bool] // keys that the fast one has signed with: did it sign right?
}

var errWrong = errors.New("it made a signature that does not fit its key")

// NewChecked makes a backend of two. fault is told of each fault and must not block.
func NewChecked(fast, sure Backend, fault func(Fault)) *Checked {
	known, _ := simplelru.NewLRU[fingerprint, bool](maxKnown, nil) // fails for sizes below one
	return &Checked{fast: fast, sure: sure, fault: fault, known: known}
}

// Lanes implements [Backend].
func (c *Checked) Lanes() int {
	if c.broken.Load() {
		return c.sure.Lanes()
	}
	return c.fast.Lanes()
}

// Sign implements [Backend].
func (c *Checked) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	good, seen := c.remembered(key)
	if key.algorithm != RSA || c.broken.Load() || seen && !good {
		return c.sure.Sign(key, messages)
	}
	signatures, err := trySign(c.fast, key, messages)
	if err == nil && !c.right(key, seen, messages, signatures) {
		err = errWrong
	}
	if err == nil {
		return signatures, nil
	}
	surely, failed := c.sure.Sign(key, messages)
	var panicked *panicError
	// A key that the sure one can't sign with either says nothing of the library.
	c.fail(key, err, errors.As(err, &panicked) || errors.Is(err, errWrong) && failed == nil)
	return surely, failed
}

// right checks what the fast one made: all of it with a key that it has not signed with, then one in [checkEvery].
func (c *Checked) right(key *Key, seen bool, messages, signatures [][]byte) bool {
	count := uint64(len(messages))
	made := c.made.Add(count)
	if !seen {
		for i, message := range messages {
			if !key.verify(message, signatures[i]) {
				return false
			}
		}
		c.remember(key, true)
		return true
	}
	if due := made - made%checkEvery; made-due < count {
		i := made - due // another lane each time
		return key.verify(messages[i], signatures[i])
	}
	return true
}

// fail has the sure one sign from here on: with this key, or with all.
func (c *Checked) fail(key *Key, err error, all bool) {
	c.remember(key, false)
	if all && c.broken.Swap(true) {
		return // another one has told of it
	}
	c.fault(Fault{Err: err, GivenUp: all})
}

func (c *Checked) remember(key *Key, good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Add(key.print, good)
}

func (c *Checked) remembered(key *Key) (good, seen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Get(key.print)
}
