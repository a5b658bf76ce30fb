package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

func (a *app) retryCommand() *cobra.Command {
	return a.onInstance(&cobra.Command{
		Use:   "retry DOMAIN",
		Short: "Try a failing instance at once, whatever its back-off",
	}, func() (action, error) {
		return func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error) {
			return done{Done: "retried", says: "tried at once"}, pg.RetryNow(ctx, pool, domain)
		}, nil
	})
}
