package deliver

import (
	"crypto/tls"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// idleShards is how many locks the pool has: deliveries to different hosts seldom meet at one.
const idleShards = 16

// idlePool keeps connections without a request. The one of a host that was used last is taken first, so that the others
// grow old; the one of the process that was used longest ago is closed first. One timer serves all.
type idlePool struct {
	max, maxPerHost int
	timeout         time.Duration
	trusted         *atomic.Pointer[tls.Config] // what new connections are made with; nil: connections never grow out of date

	seed   maphash.Seed
	shards [idleShards]idleShard
	count  atomic.Int64
	timer  *time.Timer
	waking atomic.Bool // the timer runs
}

// idleShard has the connections of some hosts.
type idleShard struct {
	mu             sync.Mutex
	hosts          map[origin]*conn // the one to take first; the others are below it
	oldest, newest *conn
	closed         bool
}

// idling is a connection's place in its shard.
type idling struct {
	since        time.Time
	below        *conn // of the same host, used before it
	older, newer *conn // of the shard
}

func newIdlePool(most, mostPerHost int, timeout time.Duration) *idlePool {
	p := &idlePool{max: most, maxPerHost: mostPerHost, timeout: timeout, seed: maphash.MakeSeed()}
	for i := range p.shards {
		p.shards[i].hosts = map[origin]*conn{}
	}
	p.timer = time.AfterFunc(timeout, p.expire)
	p.timer.Stop()
	return p
}

func (p *idlePool) shard(o origin) *idleShard {
	return &p.shards[maphash.String(p.seed, o.host)%idleShards]
}

// take returns a connection that the other side has not closed, or nil.
func (p *idlePool) take(o origin) *conn {
	for {
		c := p.shard(o).take(o)
		if c == nil {
			return nil
		}
		p.count.Add(-1)
		if c.quiet() {
			return c
		}
		_ = c.stream.Close()
	}
}

// put keeps a connection, or closes it where there are enough, or where it was made under roots that count no more.
func (p *idlePool) put(c *conn) {
	if !p.shard(c.origin).add(c, p) {
		_ = c.stream.Close()
		return
	}
	p.count.Add(1)
	for p.count.Load() > int64(p.max) && p.closeOldest() {
	}
	p.wake()
}

// outdated tells whether a connection was made under other roots than those of now.
func (p *idlePool) outdated(c *conn) bool {
	return c.made != nil && p.trusted != nil && c.made != p.trusted.Load()
}

// wake has the timer run. What was put last is the last to expire, so a timer that runs is never late.
func (p *idlePool) wake() {
	if !p.waking.Load() && p.waking.CompareAndSwap(false, true) {
		p.timer.Reset(p.timeout)
	}
}

// closeOldest closes the connection that was used longest ago, of the whole process, unless somebody takes it first. It reports
// false where there is none.
func (p *idlePool) closeOldest() bool {
	var last *idleShard
	var then time.Time
	for i := range p.shards {
		if since, some := p.shards[i].oldestSince(); some && (last == nil || since.Before(then)) {
			last, then = &p.shards[i], since
		}
	}
	if last == nil {
		return false
	}
	p.closeOne(last, then)
	return true
}

// closeOne closes the oldest connection of a shard if it was used then or before.
func (p *idlePool) closeOne(s *idleShard, then time.Time) bool {
	c := s.takeOldest(then)
	if c == nil {
		return false
	}
	p.count.Add(-1)
	_ = c.stream.Close()
	return true
}

// close closes what is idle, and from then on whatever is put.
func (p *idlePool) close() {
	p.timer.Stop()
	for i := range p.shards {
		p.shards[i].close()
	}
	p.empty()
}

// empty closes what is idle.
func (p *idlePool) empty() {
	for i := range p.shards {
		for p.closeOne(&p.shards[i], time.Now()) {
		}
	}
}

// expire closes what was idle for long enough, and waits for the next.
func (p *idlePool) expire() {
	var next time.Time
	for i := range p.shards {
		s := &p.shards[i]
		for p.closeOne(s, time.Now().Add(-p.timeout)) {
		}
		if since, some := s.oldestSince(); some && (next.IsZero() || since.Before(next)) {
			next = since
		}
	}
	if !next.IsZero() {
		p.timer.Reset(time.Until(next.Add(p.timeout)))
		return
	}
	p.waking.Store(false)
	if p.count.Load() > 0 { // put while the shards were looked at
		p.wake()
	}
}

func (s *idleShard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *idleShard) take(o origin) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.hosts[o]
	if c != nil {
		s.remove(c)
	}
	return c
}

// add says no where the host has enough, and to a connection that is out of date. It looks with s.mu held: whoever changes the
// roots empties the shards afterwards, so none slips in between.
func (s *idleShard) add(c *conn, p *idlePool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for other := s.hosts[c.origin]; other != nil; other = other.below {
		n++
	}
	if s.closed || n >= p.maxPerHost || p.outdated(c) {
		return false
	}
	c.idling = idling{since: time.Now(), below: s.hosts[c.origin], older: s.newest}
	s.hosts[c.origin] = c
	if s.newest != nil {
		s.newest.newer = c
	} else {
		s.oldest = c
	}
	s.newest = c
	return true
}

func (s *idleShard) oldestSince() (since time.Time, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oldest == nil {
		return time.Time{}, false
	}
	return s.oldest.since, true
}

// takeOldest takes the oldest if it was used then or before.
func (s *idleShard) takeOldest(then time.Time) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.oldest
	if c == nil || c.since.After(then) {
		return nil
	}
	s.remove(c)
	return c
}

// remove is called with s.mu held.
func (s *idleShard) remove(c *conn) {
	if top := s.hosts[c.origin]; top != c {
		for top.below != c {
			top = top.below
		}
		top.below = c.below
	} else if c.below != nil {
		s.hosts[c.origin] = c.below
	} else {
		delete(s.hosts, c.origin)
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		s.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		s.newest = c.older
	}
	c.idling = idling{}
}
