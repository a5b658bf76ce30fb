package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

func (a *app) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the schema fedsender",
		Args:  arguments(0, 0),
		RunE:  verb(func(ctx context.Context, _ []string) error { return a.migrate(ctx) }),
	}
	a.addVariables(cmd, databaseVariable, "SENDER_SOURCE")
	return cmd
}

func (a *app) migrate(ctx context.Context) error {
	cfg, err := a.connConfig()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return pg.Explain(err, cfg)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	report, err := pg.Migrate(ctx, conn, pg.MigrateOptions{Source: a.environment["SENDER_SOURCE"]})
	if err == nil {
		fmt.Fprintln(a.out, report)
	}
	return err
}
