package sign

import "sync"

// nativeKey is a key as a C library has it. Threads may share keys as long as nobody changes them, but not contexts
// (openssl-threads(7)): each belongs to one signature, and is kept for another. There are as many as were signed with at
// one time.
type nativeKey struct {
	key uintptr

	mu       sync.Mutex
	contexts []uintptr // prepared, and of nobody
}

// take returns 0 where there is none.
func (n *nativeKey) take() uintptr {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.contexts) - 1
	if last < 0 {
		return 0
	}
	context := n.contexts[last]
	n.contexts = n.contexts[:last]
	return context
}

func (n *nativeKey) give(context uintptr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.contexts = append(n.contexts, context)
}
