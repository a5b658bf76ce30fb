package pg

import (
	"context"
	"net"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Cutter ends connections whatever they wait for: pgx tries for up to 15 s to tell a server, which may not be there, that a
// statement was given up. Its methods do not block, may be called more than once and are safe for several goroutines.
type Cutter struct {
	mu   sync.Mutex
	ctx  context.Context // keeps its values; its end does nothing
	life context.Context // of the connections there are
	cut  context.CancelFunc
	over bool
}

// Cuttable makes the connections of cfg end by the Cutter that it returns.
func Cuttable(ctx context.Context, cfg *pgx.ConnConfig) *Cutter {
	c := &Cutter{ctx: context.WithoutCancel(ctx)}
	c.life, c.cut = context.WithCancel(c.ctx)
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		life := c.current()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)()
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return cuttable{conn, context.AfterFunc(life, func() { _ = conn.Close() })}, nil
	}
	return c
}

// Cut ends all connections; attempts to connect fail from then on.
func (c *Cutter) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.cut()
}

// Renew ends the connections that there are, and attempts under way. Later ones are made as usual.
func (c *Cutter) Renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut(); !c.over {
		c.life, c.cut = context.WithCancel(c.ctx)
	}
}

func (c *Cutter) current() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life
}

type cuttable struct {
	net.Conn
	forget func() bool
}

func (c cuttable) Close() error {
	c.forget()
	return c.Conn.Close()
}
