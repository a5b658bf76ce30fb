package deliver

import (
	"context"
	"net"
	"syscall"
)

// ByTransport sends everything by net/http, as what goes through a proxy: to compare.
func (c *Client) ByTransport() { c.direct = c.proxied }

// IdleLooks says how the connection looks that would be taken first: "quiet", "closed", or "none".
func (c *Client) IdleLooks(inbox string) string {
	u, err := c.config.CheckInbox(inbox)
	if err != nil {
		return err.Error()
	}
	o := originOf(&attempt{url: u})
	shard := c.direct.(*direct).idle.shard(o)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	switch kept := shard.hosts[o]; {
	case kept == nil:
		return "none"
	case kept.socket.probe.silent():
		return "quiet"
	}
	return "closed"
}

// Idle is how many connections are kept.
func (c *Client) Idle() int {
	return int(c.direct.(*direct).idle.count.Load())
}

func NewResolver(ask func(ctx context.Context, network, address string) (net.Conn, error)) *net.Resolver {
	return newResolver(ask)
}

// OnConnect has f called right before each connect(2) to ConnectTo.
func (c *Client) OnConnect(f func()) {
	c.direct.(*direct).dialer.dialer.Control = func(string, string, syscall.RawConn) error { f(); return nil }
}
