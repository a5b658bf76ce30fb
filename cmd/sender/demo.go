package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

// demoOptions is what the demo can be told.
type demoOptions struct{}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	return &cobra.Command{
		Use:   "demo",
		Short: "See it work: a private Postgres, a simulated fediverse, three senders",
		Args:  arguments(0, 0),
		RunE:  verb(func(ctx context.Context, _ []string) error { return a.runDemo(ctx, o) }),
	}
}

func (a *app) runDemo(context.Context, demoOptions) error {
	return errors.New("the demo is not built in")
}
