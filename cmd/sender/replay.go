package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

func (a *app) replayCommand() *cobra.Command {
	var since string
	cmd := a.onInstance(&cobra.Command{
		Use:   "replay DOMAIN --since TIME",
		Short: "Send again what was published since then",
		Long:  "Send again what was published since then, to an instance that lost it. Receivers ignore what they have.",
	}, func() (action, error) {
		if since == "" {
			return nil, misused("--since is missing: a time such as 2026-01-02T15:04:05Z, or a duration such as 2h or 7d")
		}
		now := time.Now()
		at, err := parseTime(since, now, -1)
		if err != nil {
			return nil, misused("--since %s", err)
		}
		if at.After(now) {
			return nil, misused("--since %s is in the future", since)
		}
		return func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error) {
			ids, err := pg.Replay(ctx, pool, domain, at)
			return done{Done: "replayed", IDs: ids, says: "goes back by " + plural(ids, "id")}, err
		}, nil
	})
	cmd.Flags().StringVar(&since, "since", "", "`TIME`, or a duration before now")
	return cmd
}
