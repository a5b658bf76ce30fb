package lease

import (
	"context"
	"errors"
	"time"
)

// ErrLost is matched by what [Keeper.Run] returns when the session ended or the deadline passed. Everything
// that was held may belong to another process by now: drop it, connect again, make another Keeper.
var ErrLost = errors.New("the lease session is lost")

// Peer is one process that has a lease session. It is an alias of a struct type, so that a Session can be
// implemented without importing this package.
type Peer = struct {
	ID      string        // drawn at the start of the process, never used twice
	PID     int32         // of the server's backend
	Since   time.Time     // start of that backend, by the server's clock; zero where it is hidden from our role
	Age     time.Duration // of the session, by the server's clock; where it is hidden, longer than any
	IdleFor time.Duration // since the session's last statement; 0 for ourselves and where it is hidden
	Mine    bool          // the session has our own role: we may end it
	Self    bool          // the very session that was asked
	Leaving bool          // it shuts down: it keeps what it has not unlocked yet and takes nothing

	MaxLeases int   // that it may hold; 0: no limit
	Weights   int64 // the version that it plans with; 0: none
}

// Session is the one database session that holds all leases of a process. The Keeper calls it from one goroutine,
// but for Wait. Each call must return within about 2 s.
type Session interface {
	// Lock tries each id without waiting and returns those that it got. With an error it got nothing,
	// or the session is lost. It is never asked for an id that is held.
	Lock(ctx context.Context, ids []int32) (got []int32, err error)
	// Unlock gives ids up and then rings with bell, unless that is empty, without another round trip.
	Unlock(ctx context.Context, ids []int32, bell string) error
	// Beat is the heartbeat: who has a lease session, ourselves included.
	Beat(ctx context.Context) ([]Peer, error)
	// Ring makes every process, this one included, call Keeper.Hear with the payload, of less than 8,000 bytes.
	Ring(ctx context.Context, payload string) error
	// Leave makes Peer.Leaving true for all others; the locks stay.
	Leave(ctx context.Context) error
	// Show makes version the Peer.Weights of this process for all others.
	Show(ctx context.Context, version int64) error
	// Terminate ends the peer's session if it is still the one that Beat reported.
	Terminate(ctx context.Context, peer Peer) error
	// Wait blocks until the session is lost, and says why, or until ctx ends. It runs beside the other calls.
	Wait(ctx context.Context) error
}

// Handler is the owner of what is leased. Acquired and Release run beside each other for different ids, never for the same.
type Handler interface {
	// Instances returns every instance that may be leased, sorted, each once. It is called at each heartbeat;
	// the slice must not change afterwards. All processes should soon agree on it.
	Instances() []int32
	// Acquired is called when ids are held: read their state and begin. After an error they are unlocked
	// and tried again; nothing of them may be under way then.
	Acquired(ctx context.Context, ids []int32) error
	// Release drains ids and writes their cursors. It calls released for each part of them as soon as nothing of that
	// is in flight and its cursors are written, or could not be: then the part is unlocked. When ctx ends it cancels
	// what is in flight. For cursors that somebody keeps locked it may wait longer, as long as the session lasts. It returns
	// when nothing of ids is in flight, with or without an error; what it did not name by then is unlocked too.
	Release(ctx context.Context, ids []int32, released func(part []int32)) error
}

// Waiter may be implemented by a Handler, for where there are more instances than locks.
type Waiter interface {
	// Waiting is called in each round with what this process owns, sorted, while it may not hold all of that, and with
	// nil while it may. It returns those of them, held or not, that have something to send at this moment, with the time
	// since when; of those that are held the time does not matter. For who is held by nobody it is the only one to
	// notice work, and tells so with [Keeper.Wake].
	Waiting(own []int32) map[int32]time.Time
}
