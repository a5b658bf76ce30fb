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

// completeNoFiles keeps the shell from offering files where none is wanted.
func completeNoFiles(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.ValidArgsFunction == nil && sub.Name() != "enqueue" && sub.Name() != "man" {
			sub.ValidArgsFunction = cobra.NoFileCompletions
		}
		completeNoFiles(sub)
	}
}

// completeDomain completes the one DOMAIN by the instances of the database. Where that can't be asked in time it says nothing.
func (a *app) completeDomain(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.domainsLike(cmd, begun), cobra.ShellCompDirectiveNoFileComp
}

// completeDomainFlag does the same for --domain.
func (a *app) completeDomainFlag(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("domain", func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.domainsLike(cmd, begun), cobra.ShellCompDirectiveNoFileComp
	}) // it fails only where there is no such flag
}

func (a *app) domainsLike(cmd *cobra.Command, begun string) []cobra.Completion {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	a.environment = withFlags(a.environment, variableFlags(cmd)) // nothing else has read them while a line is completed
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
