package pg

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5"
)

// Cuttable makes connections of cfg end when cut is called, whatever they wait for, and attempts to connect fail from then on.
// pgx tries for up to 15 s to tell a server, which may not be there, that a statement was given up. cut does not block and
// may be called twice; values of ctx are kept, its end does nothing.
func Cuttable(ctx context.Context, cfg *pgx.ConnConfig) (cut func()) {
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)()
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return cuttable{conn, context.AfterFunc(life, func() { _ = conn.Close() })}, nil
	}
	return cut
}

type cuttable struct {
	net.Conn
	forget func() bool
}

func (c cuttable) Close() error {
	c.forget()
	return c.Conn.Close()
}
