package deliver

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/bubble"
)

// pooled is a connection for the pool whose other end tells when it is closed.
func pooled(host string) (*conn, net.Conn) {
	near, far := net.Pipe()
	socket := newGatedConn(near)
	return &conn{stream: socket, socket: socket, origin: origin{host: host}}, far
}

func (p *idlePool) hosts() (n int) {
	for i := range p.shards {
		n += len(p.shards[i].hosts)
	}
	return n
}

func isClosed(far net.Conn) bool {
	_ = far.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := far.Read(make([]byte, 1))
	return err != nil && !isTimeout(err)
}

func TestIdlePool_TakesTheConnectionOfTheHostThatWasUsedLast(t *testing.T) {
	p := newIdlePool(10, 10, time.Minute)
	defer p.close()
	first, _ := pooled("toad")
	second, _ := pooled("toad")
	other, _ := pooled("frog")
	for _, c := range []*conn{first, second, other} {
		p.put(c)
	}
	for i, want := range []*conn{second, first, nil} {
		if got := p.take(origin{host: "toad"}); got != want {
			t.Errorf("the connection taken as number %d is another", i)
		}
	}
	if got := p.take(origin{host: "frog", encrypted: true}); got != nil {
		t.Error("one without TLS was taken for one with")
	}
	if p.count.Load() != 1 || p.take(origin{host: "frog"}) != other || p.hosts() != 0 {
		t.Errorf("%d are left of %d hosts", p.count.Load(), p.hosts())
	}
}

func TestIdlePool_ClosesTheOneUsedLongestAgoWhenTheProcessHasTooMany(t *testing.T) {
	p := newIdlePool(2, 10, time.Minute)
	defer p.close()
	var far [3]net.Conn
	for i, host := range []string{"toad", "frog", "newt"} {
		var c *conn
		c, far[i] = pooled(host)
		p.put(c)
	}
	for i, want := range []bool{true, false, false} {
		if isClosed(far[i]) != want {
			t.Errorf("connection %d: closed is not %v", i, want)
		}
	}
	if p.count.Load() != 2 || p.take(origin{host: "toad"}) != nil {
		t.Errorf("%d are kept", p.count.Load())
	}
}

func TestIdlePool_ClosesTheOneThatIsTooManyForItsHost(t *testing.T) {
	p := newIdlePool(10, 2, time.Minute)
	defer p.close()
	for i := range 3 {
		c, far := pooled("toad")
		if p.put(c); isClosed(far) != (i == 2) {
			t.Errorf("connection %d", i)
		}
	}
	c, far := pooled("frog")
	if p.put(c); isClosed(far) {
		t.Error("another host has its own bound")
	}
}

func TestIdlePool_ClosesWhatWasIdleForTooLong(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newIdlePool(10, 10, time.Minute)
		defer p.close()
		var far [2]net.Conn
		for i, host := range []string{"toad", "toad"} {
			var c *conn
			c, far[i] = pooled(host)
			p.put(c)
			time.Sleep(10 * time.Second)
		}
		want := func(after time.Duration, first, second bool) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if isClosed(far[0]) != first || isClosed(far[1]) != second {
				t.Errorf("closed: %v and %v", isClosed(far[0]), isClosed(far[1]))
			}
		}
		want(39*time.Second, false, false)
		want(2*time.Second, true, false)
		want(7*time.Second, true, false)
		want(4*time.Second, true, true)
		if p.count.Load() != 0 || p.hosts() != 0 {
			t.Errorf("%d are left of %d hosts", p.count.Load(), p.hosts())
		}
		// The timer starts again.
		c, last := pooled("toad")
		p.put(c)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !isClosed(last) {
			t.Error("one that came later is open")
		}
	})
}

func TestIdlePool_KeepsNothingAfterItWasClosed(t *testing.T) {
	p := newIdlePool(10, 10, time.Minute)
	before, farBefore := pooled("toad")
	p.put(before)
	p.close()
	after, farAfter := pooled("toad")
	p.put(after)
	if !isClosed(farBefore) || !isClosed(farAfter) || p.count.Load() != 0 {
		t.Errorf("%d are kept", p.count.Load())
	}
}

func TestIdlePool_ManyAtOnceStayWithinTheBoundAndLoseNone(t *testing.T) {
	p := newIdlePool(20, 4, time.Minute)
	var using conc.WaitGroup
	for n := range 16 {
		using.Go(func() {
			for i := range 200 {
				host := string(rune('a' + (n+i)%24))
				c := p.take(origin{host: host})
				if c == nil {
					c, _ = pooled(host)
				}
				p.put(c)
			}
		})
	}
	using.Wait()
	kept := 0
	for n := range 24 {
		for p.take(origin{host: string(rune('a' + n))}) != nil {
			kept++
		}
	}
	if kept > 20 || kept < 16 || p.count.Load() != 0 || p.hosts() != 0 {
		t.Errorf("%d were kept; %d are left of %d hosts", kept, p.count.Load(), p.hosts())
	}
	p.close()
}
