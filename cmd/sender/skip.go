package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

func (a *app) skipCommand() *cobra.Command {
	var to string
	cmd := a.onInstance(&cobra.Command{
		Use:   "skip DOMAIN --to latest",
		Short: "Give up all that waits for an instance",
		Long:  "Give up all that waits for an instance: it goes on with what is inserted after this. sender replay takes it back.",
	}, func() (action, error) {
		if to != "latest" {
			return nil, misused("--to must be latest, so that nothing is given up by mistake")
		}
		return func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error) {
			ids, err := pg.SkipToLatest(ctx, pool, domain)
			says := "skipped " + plural(ids, "id")
			if ids < 0 {
				says = "set back by " + plural(-ids, "id") + ", to the newest activity"
			}
			return done{Done: "skipped", IDs: ids, says: says}, err
		}, nil
	})
	cmd.Flags().StringVar(&to, "to", "", "`latest`: the newest activity")
	return cmd
}
