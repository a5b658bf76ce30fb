package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

// done is what a verb that acts on one instance prints.
type done struct {
	Domain string    `json:"domain"`
	Done   string    `json:"done"`
	Until  time.Time `json:"until,omitzero"`
	IDs    int64     `json:"ids,omitempty"`
	Waits  string    `json:"waits_for,omitempty"` // why nothing is sent all the same
	says   string
}

// action does one thing to one instance.
type action func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error)

// onInstance makes a command that takes a DOMAIN. plan reads its flags before there is a connection.
func (a *app) onInstance(cmd *cobra.Command, plan func() (action, error)) *cobra.Command {
	var asJSON bool
	cmd.Args = arguments(1, 1)
	cmd.ValidArgsFunction = a.completeDomain
	cmd.RunE = verb(func(ctx context.Context, args []string) error {
		if err := checkDomain(args[0]); err != nil {
			return err
		}
		act, err := plan()
		if err != nil {
			return err
		}
		return a.withDatabase(ctx, func(pool *pgxpool.Pool) error {
			d, err := act(ctx, pool, args[0])
			if err != nil {
				return err
			}
			d.Domain = args[0]
			if asJSON {
				return printJSON(a.out, d)
			}
			_, err = fmt.Fprintln(a.out, safe(args[0]+": "+d.says))
			return err
		})
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	var until string
	var cmd *cobra.Command
	cmd = a.onInstance(&cobra.Command{
		Use:   "pause DOMAIN",
		Short: "Send nothing to an instance for a while; nothing is lost",
	}, func() (action, error) {
		d := done{Done: "paused", says: "paused until it is resumed"}
		if cmd.Flags().Changed("until") {
			now := time.Now()
			at, err := parseTime(until, now, 1)
			if err != nil {
				return nil, misused("--until %s", err)
			}
			if !at.After(now) {
				return nil, misused("--until %s is in the past", until)
			}
			d.Until, d.says = at, "paused until "+at.Local().Format(time.DateTime)
		}
		return func(ctx context.Context, pool *pgxpool.Pool, domain string) (done, error) {
			return d, pg.Pause(ctx, pool, domain, d.Until)
		}, nil
	})
	cmd.Flags().StringVar(&until, "until", "", "`TIME` or duration after which it goes on by itself, such as 2h, 7d or 2026-01-02T15:04:05Z (default: until resumed)")
	return cmd
}
