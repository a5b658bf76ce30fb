package deliver

import (
	"sync"
	"time"
)

// idlePool keeps connections without a request. The one that was used last of a host is taken first, so that the others
// grow old; the one of the process that was used longest ago is closed first. One timer serves all.
type idlePool struct {
	max, maxPerHost int
	timeout         time.Duration

	mu             sync.Mutex
	hosts          map[origin]*conn // the one to take first; the others are below it
	oldest, newest *conn
	count          int
	timer          *time.Timer // runs while there is a connection; nil before the first
	closed         bool
}

// idling is a connection's place in the pool.
type idling struct {
	since        time.Time
	below        *conn // of the same host, used before it
	older, newer *conn // of the process
}

func newIdlePool(most, mostPerHost int, timeout time.Duration) *idlePool {
	return &idlePool{max: most, maxPerHost: mostPerHost, timeout: timeout, hosts: map[origin]*conn{}}
}

// take returns a connection that the other side has not closed, or nil.
func (p *idlePool) take(o origin) *conn {
	for {
		p.mu.Lock()
		c := p.hosts[o]
		if c != nil {
			p.remove(c)
		}
		p.mu.Unlock()
		if c == nil || c.quiet() {
			return c
		}
		_ = c.stream.Close()
	}
}

// put keeps a connection, or closes it where there are enough.
func (p *idlePool) put(c *conn) {
	surplus := c
	p.mu.Lock()
	if !p.closed && p.depth(c.origin) < p.maxPerHost {
		surplus = nil
		p.add(c)
		if p.count > p.max {
			surplus = p.oldest
			p.remove(surplus)
		}
	}
	p.mu.Unlock()
	if surplus != nil {
		_ = surplus.stream.Close()
	}
}

// close closes what is idle, and from then on whatever is put.
func (p *idlePool) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.closeUntil(time.Now().Add(time.Hour))
}

// expire closes what was idle for long enough, and waits for the next.
func (p *idlePool) expire() {
	p.closeUntil(time.Now().Add(-p.timeout))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.oldest != nil && !p.closed {
		p.timer.Reset(time.Until(p.oldest.since.Add(p.timeout)))
	}
}

// closeUntil closes those that are idle since then or longer.
func (p *idlePool) closeUntil(then time.Time) {
	for {
		p.mu.Lock()
		c := p.oldest
		if c != nil && c.since.After(then) {
			c = nil
		}
		if c != nil {
			p.remove(c)
		}
		p.mu.Unlock()
		if c == nil {
			return
		}
		_ = c.stream.Close()
	}
}

// depth is how many connections a host has. p.mu is held, as for all that follow.
func (p *idlePool) depth(o origin) int {
	n := 0
	for c := p.hosts[o]; c != nil; c = c.below {
		n++
	}
	return n
}

func (p *idlePool) add(c *conn) {
	c.idling = idling{since: time.Now(), below: p.hosts[c.origin], older: p.newest}
	p.hosts[c.origin] = c
	if p.newest != nil {
		p.newest.newer = c
	} else {
		p.oldest = c
		p.arm()
	}
	p.newest = c
	p.count++
}

// arm starts the timer for the first connection.
func (p *idlePool) arm() {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout, p.expire)
	} else {
		p.timer.Reset(p.timeout)
	}
}

func (p *idlePool) remove(c *conn) {
	if top := p.hosts[c.origin]; top != c {
		for top.below != c {
			top = top.below
		}
		top.below = c.below
	} else if c.below != nil {
		p.hosts[c.origin] = c.below
	} else {
		delete(p.hosts, c.origin)
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	c.idling = idling{}
	p.count--
}
