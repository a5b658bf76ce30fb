package targets

import "slices"

// followers are the targets of each actor, sorted by instance and URL, no inbox twice. Most actors have few: one target
// lies in the map itself, which has no pointers that the garbage collector would follow.
type followers struct {
	// by is the only target of an actor, or one that is elsewhere: its id is an index into lists.
	by       map[int64]target
	lists    [][]target
	free     []uint32 // indexes into lists that nobody has
	capacity int      // of all lists
}

func newFollowers() followers { return followers{by: make(map[int64]target)} }

// get returns the targets of an actor to be read, changed or appended to, and then given to set. They are in room if
// they are in no list.
func (f *followers) get(actorID int64, room *[1]target) []target {
	t, ok := f.by[actorID]
	switch {
	case !ok:
		return nil
	case t.indexed():
		room[0] = t
		return room[:]
	default:
		return f.lists[t.id()]
	}
}

// set replaces the targets of an actor and keeps the slice if it is more than one.
func (f *followers) set(actorID int64, targets []target) {
	t, ok := f.by[actorID]
	listed := ok && !t.indexed()
	if listed {
		f.capacity -= cap(f.lists[t.id()])
	}
	if len(targets) < 2 {
		if listed {
			f.lists[t.id()] = nil
			f.free = append(f.free, t.id())
		}
		if len(targets) == 0 {
			delete(f.by, actorID)
		} else {
			f.by[actorID] = targets[0]
		}
		return
	}
	if cap(targets) > 2*len(targets)+8 {
		targets = slices.Clip(slices.Clone(targets))
	}
	f.capacity += cap(targets)
	if listed {
		f.lists[t.id()] = targets
		return
	}
	f.by[actorID] = newTarget(0, f.take(targets), false) | elsewhere
}

func (f *followers) take(targets []target) uint32 {
	if n := len(f.free); n > 0 {
		i := f.free[n-1]
		f.free = f.free[:n-1]
		f.lists[i] = targets
		return i
	}
	f.lists = append(f.lists, targets)
	return uint32(len(f.lists) - 1)
}

// bytes is about what all of it takes on the heap.
func (f *followers) bytes() int64 {
	return int64(mapSlack*17*float64(len(f.by))) + int64(24*cap(f.lists)+8*f.capacity+4*cap(f.free))
}
