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
			if err := pg.RetryNow(ctx, pool, domain); err != nil {
				return done{}, err
			}
			found, err := pg.InstanceStatuses(ctx, pool, pg.InstanceStatusFilter{Domain: domain})
			if err != nil || len(found) == 0 {
				return done{}, err
			}
			d := done{Done: "retried", Waits: waitsFor(found[0]), says: "tried at once"}
			if d.Waits != "" {
				d.says = "its back-off is over, but " + d.Waits
			}
			return d, nil
		}, nil
	})
}

// waitsFor is why nothing is sent to an instance whose back-off is over, and what to do; empty: something is.
func waitsFor(s pg.InstanceStatus) string {
	switch {
	case s.State == "paused":
		return "it is paused, and nothing is sent to it; run: sender resume " + s.Domain
	case s.State == "blocked":
		return "it is blocked, or not among those that are allowed, and nothing is sent to it before that ends"
	case s.Holder == "":
		return "no process delivers to it at this moment; sender status shows those that run"
	}
	return ""
}
