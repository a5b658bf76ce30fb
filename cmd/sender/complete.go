package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

const (
	// completeWithin is how long a person waits after the tabulator key.
	completeWithin = time.Second
	// completeMost is more than a person reads.
	completeMost = 200
)

// completeDomain completes the one DOMAIN by the instances of the database. Where that can't be asked in time it says nothing.
func (a *app) completeDomain(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.domainsLike(cmd.Context(), begun), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) domainsLike(ctx context.Context, begun string) []cobra.Completion {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	cfg, err := a.connConfig()
	if err != nil {
		return nil
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil
	}
	defer conn.Close(context.WithoutCancel(ctx))
	found, err := pg.DomainsLike(ctx, conn, begun, completeMost)
	if err != nil {
		return nil
	}
	safeOnes := found[:0]
	for _, domain := range found {
		if domain == safe(domain) {
			safeOnes = append(safeOnes, domain)
		}
	}
	return safeOnes
}
