package pg

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// TxBeginner starts transactions with options: a pool or a connection.
type TxBeginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Reading runs f on a read-only transaction, each statement of which the server ends after limit: see [IsCanceled]. It blocks
// until f returns or ctx ends, and returns f's error.
func Reading(ctx context.Context, db TxBeginner, limit time.Duration, f func(ctx context.Context, q Querier) error) error {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	// It has changed nothing. Where ctx is over, the connection is too.
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `select set_config('statement_timeout', $1::text, true)`, strconv.FormatInt(limit.Milliseconds(), 10)); err != nil {
		return err
	}
	return f(ctx, tx)
}
