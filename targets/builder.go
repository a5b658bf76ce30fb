package targets

import "slices"

// Builder takes rows in any order and becomes an [Index]; that is faster and leaner than to add them to an index one by
// one. It is for one goroutine.
type Builder struct{ state *state }

// NewBuilder returns an empty builder.
func NewBuilder() *Builder { return &Builder{state: newState()} }

// Instance adds an instance; the last one with an ID counts.
func (b *Builder) Instance(in Instance) { b.state.setInstance(in) }

// Follower adds a follower.
func (b *Builder) Follower(f Follower) {
	s := b.state
	id := s.inboxes.retain(f.InstanceID, f.Inbox, f.Shared)
	t := newTarget(f.InstanceID, id, f.Shared)
	var room [1]target
	of := s.followers.get(f.ActorID, &room)
	// Rows often come in the order of a table that grew by actor and instance.
	if len(of) > 0 && of[len(of)-1] == t {
		s.inboxes.release(id, f.Shared)
		return
	}
	s.followers.set(f.ActorID, append(of, t))
}

// Tombstone adds a tombstone.
func (b *Builder) Tombstone(t Tombstone) { b.state.addTombstone(t) }

// Lists sets the allow list and the block list.
func (b *Builder) Lists(allow, block []ListEntry) {
	b.state.allow, b.state.block = newList(allow), newList(block)
}

// Index returns the index of all that was added. The builder must not be used again.
func (b *Builder) Index() *Index { return &Index{state: b.finish()} }

func (b *Builder) finish() *state {
	s := b.state
	b.state = nil
	var room [1]target
	for actorID := range s.followers.by {
		of := s.tidy(s.followers.get(actorID, &room))
		if cap(of) > len(of)+len(of)/8 {
			of = slices.Clip(slices.Clone(of))
		}
		s.followers.set(actorID, of)
		for i, t := range of {
			if i == 0 || of[i-1].instance() != t.instance() {
				s.countPair(t.instance(), 1, 0)
			}
		}
	}
	s.inboxes.exposed = true
	s.inboxes.chunk.Reset()
	return s
}
