package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

func (a *app) resumeCommand() *cobra.Command {
	return a.onInstance(&cobra.Command{
		Use:   "resume DOMAIN",
		Short: "End the pause of an instance",
	}, func() (action, error) {
		return func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error) {
			return done{Done: "resumed", says: "resumed"}, pg.Resume(ctx, pool, domain)
		}, nil
	})
}
