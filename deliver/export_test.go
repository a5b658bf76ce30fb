package deliver

import (
	"context"
	"net"
)

// ByTransport sends everything by net/http, as what goes through a proxy: to compare.
func (c *Client) ByTransport() { c.direct = c.proxied }

// IdleLooks says how the connection looks that would be taken first: "quiet", "closed", or "none".
func (c *Client) IdleLooks(inbox string) string {
	u, err := c.config.CheckInbox(inbox)
	if err != nil {
		return err.Error()
	}
	pool := c.direct.(*direct).idle
	pool.mu.Lock()
	defer pool.mu.Unlock()
	switch kept := pool.hosts[originOf(&attempt{url: u})]; {
	case kept == nil:
		return "none"
	case kept.socket.probe.silent():
		return "quiet"
	}
	return "closed"
}

// Idle is how many connections are kept.
func (c *Client) Idle() int {
	pool := c.direct.(*direct).idle
	pool.mu.Lock()
	defer pool.mu.Unlock()
	return pool.count
}

func NewResolver(ask func(ctx context.Context, network, address string) (net.Conn, error)) *net.Resolver {
	return newResolver(ask)
}
