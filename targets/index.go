package targets

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Inbox is a URL that is POSTed to. It is an alias of a plain struct, so that other packages can name the same type
// without importing this one.
type Inbox = struct {
	URL string
	// Shared: it serves many actors of the instance, as far as any row says so.
	Shared bool
}

// Instance is a remote server.
type Instance struct {
	ID int32
	// Domain has the port if it is not the default one. It is compared in lower case and punycode, however it is
	// written here.
	Domain string
	// SharedInbox is where activities for all instances go; empty: it has none.
	SharedInbox string
	CreatedAt   time.Time
	LastSeenAt  time.Time
}

// Follower is one follower of a local actor. Followers with the same inbox on the same instance count once.
type Follower struct {
	ActorID    int64
	InstanceID int32
	// Inbox is the shared one where there is one.
	Inbox  string
	Shared bool
}

// Tombstone is a follower that left: activities up to ThroughID still go to its inbox.
type Tombstone struct {
	ActorID    int64
	InstanceID int32
	Inbox      string
	Shared     bool
	ThroughID  int64
}

// Index answers whom an activity is for. It is safe for several goroutines; questions run beside each other, changes
// one at a time. The zero value isn't ready: [New] or [Builder.Index] make one.
type Index struct {
	mu    sync.RWMutex
	state *state
	// ids is what IDs returns; nil after the instances changed.
	ids     atomic.Pointer[[]int32]
	scratch sync.Pool
}

// New returns an empty index.
func New() *Index { return NewBuilder().Index() }

// Become exchanges all that x knows for what y does, in one step. y must not be used again. Until then both are in memory.
func (x *Index) Become(y *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state = y.state
	x.ids.Store(nil)
}

// SetPair says which inboxes an actor's followers on one instance have; they replace the ones before. None: nobody
// there follows it any more. The instance may still be unknown.
func (x *Index) SetPair(actorID int64, instanceID int32, inboxes []Inbox) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state.setPair(actorID, instanceID, inboxes)
}

// SetInstance adds an instance or replaces what is known about the one with its ID.
func (x *Index) SetInstance(in Instance) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, known := x.state.instances[in.ID]; !known {
		x.ids.Store(nil)
	}
	x.state.setInstance(in)
}

// RemoveInstance forgets instances with their followers and tombstones. While one of them has followers it goes through
// all actors (100 ms for a million), so give it all that are gone at once.
func (x *Index) RemoveInstance(ids ...int32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ids.Store(nil)
	x.state.removeInstances(ids)
}

// AddTombstone notes that a follower left. The same one again changes nothing; the highest ThroughID counts.
func (x *Index) AddTombstone(t Tombstone) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state.addTombstone(t)
}

// PruneTombstones forgets the tombstones that count for no activity above throughID. The owner calls it with an id up to
// which no targets will be asked for any more.
func (x *Index) PruneTombstones(throughID int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state.pruneTombstones(throughID)
}

// SetLists replaces the allow list and the block list.
func (x *Index) SetLists(allow, block []ListEntry) {
	a, b := newList(allow), newList(block)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state.allow, x.state.block = a, b
}

// Instance returns what is known about an instance.
func (x *Index) Instance(id int32) (Instance, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	in, ok := x.state.instances[id]
	return in.Instance, ok
}

// ByDomain returns the instance of a domain, however that is written ("Bücher.Example." is xn--bcher-kva.example). If
// rows differ in their writing only, the lowest id has the domain.
func (x *Index) ByDomain(domain string) (id int32, ok bool) {
	key := domainKey(domain)
	x.mu.RLock()
	defer x.mu.RUnlock()
	id, ok = x.state.domains[key]
	return id, ok
}

// IDs returns the ids of all instances in ascending order. The slice is shared and never changes afterwards; the caller
// must not change it.
func (x *Index) IDs() []int32 {
	if ids := x.ids.Load(); ids != nil {
		return *ids
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	// Readers that come here together store the same.
	ids := slices.Sorted(maps.Keys(x.state.instances))
	x.ids.Store(&ids)
	return ids
}

// Len returns the number of instances.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.state.instances)
}

// Stats says how much an index holds.
type Stats struct {
	Instances int
	// Pairs are the (actor, instance) with at least one follower.
	Pairs int
	// Inboxes are the distinct ones in use.
	Inboxes    int
	Tombstones int
	// Bytes is about what all of it takes on the heap.
	Bytes int64
}

// Stats counts in constant time.
func (x *Index) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.state.stats()
}
