package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// statementLimit is for one statement or batch of a pool, the transfer of its rows included. All that is done each
	// second takes milliseconds: a connection that is silent for so long is one whose other end is gone.
	statementLimit = 30 * time.Second
	// longLimit is for the few that read or delete everything.
	longLimit = 10 * time.Minute
)

// Bound ends the statements of connections made from cfg after 30 s, or 10 minutes where they read everything. The server
// may not be there to do it: a link that was cut is silent. It costs the connection, which the pool replaces.
func Bound(cfg *pgx.ConnConfig) { cfg.Tracer = bound(statementLimit) }

// bound is a tracer because that sees each statement of a pool, whoever makes it, and may give it a context.
type bound time.Duration

type (
	longKey   struct{} // of a context whose statements may take longLimit
	cancelKey struct{} // of the function that ends a statement's context
)

func long(ctx context.Context) context.Context { return context.WithValue(ctx, longKey{}, true) }

func (b bound) start(ctx context.Context) context.Context {
	limit := time.Duration(b)
	if ctx.Value(longKey{}) != nil {
		limit = longLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return context.WithValue(ctx, cancelKey{}, cancel)
}

func (b bound) end(ctx context.Context) { ctx.Value(cancelKey{}).(context.CancelFunc)() }

func (b bound) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return b.start(ctx)
}

func (b bound) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) { b.end(ctx) }

func (b bound) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return b.start(ctx)
}

func (b bound) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (b bound) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) { b.end(ctx) }
