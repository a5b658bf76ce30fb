package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

type migrateOptions struct{ dryRun, down, yes, json bool }

func (a *app) migrateCommand() *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade the schema fedsender",
		Long: `Create or upgrade the schema fedsender. Where it is up to date nothing is changed or locked; any
number of processes may do it at the same time.

For an application whose tables sender does not know, name the folder of its adapter:
sender migrate --source ./NAME (docs/adapters.md). No other verb needs the folder.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error { return a.migrate(ctx, o) }),
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the SQL instead of running it")
	cmd.Flags().BoolVar(&o.down, "down", false, "remove the schema and all that is in it")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "with --down: although rows are lost")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	a.addVariables(cmd, databaseVariable, leaseVariable, "SENDER_SOURCE", "SENDER_LOG_FORMAT", "SENDER_LOG_LEVEL")
	return cmd
}

func (a *app) migrate(ctx context.Context, o migrateOptions) error {
	config, err := sender.ParseConfig(a.environment)
	if err != nil {
		return err
	}
	// The lock that keeps two migrations apart is a session's, as the leases are.
	variable, dsn := databaseVariable, config.DatabaseURL
	if config.LeaseDatabaseURL != "" {
		variable, dsn = leaseVariable, config.LeaseDatabaseURL
	}
	cfg, err := a.parseDSN(variable, dsn)
	if err != nil {
		return err
	}
	if err := pg.CheckLeaseConnection(ctx, cfg); errors.Is(err, pg.ErrPooled) {
		return misuse{err.Error()}
	} else if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return pg.Explain(err, cfg)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	options := pg.MigrateOptions{Source: config.Source, Down: o.down, DryRun: o.dryRun, Log: a.migrateLog(config)}
	if o.down && !o.dryRun && !o.yes {
		if err := refuseLoss(ctx, conn, options); err != nil {
			return err
		}
	}
	report, err := pg.Migrate(ctx, conn, options)
	switch {
	case err != nil:
		return schemaMisuse(err)
	case o.json:
		return printJSON(a.out, newMigrateReport(report, o))
	case o.dryRun:
		return printSteps(a.out, report)
	}
	if _, err = fmt.Fprintln(a.out, describeMigration(report, o.down)); err == nil && len(report.Silent) > 0 {
		_, err = fmt.Fprintln(a.out, describeSilence(report, conn.Config().User))
	}
	if err == nil && report.Viewer != "" {
		_, err = fmt.Fprintf(a.out, "dashboards want a role that reads the views and nothing else, which this one may not make; to have it, an administrator runs: %s; then run: sender migrate\n", report.Viewer)
	}
	return err
}

// migrateLog tells a person who waits what goes on; a script reads the report.
func (a *app) migrateLog(config sender.Config) *slog.Logger {
	if config.LogFormat == "auto" && !isTerminal(a.err) {
		return slog.New(slog.DiscardHandler)
	}
	return newLog(a.err, config.LogFormat, config.LogLevel, a.redact())
}

// refuseLoss lets --down go on by itself only where no row is lost.
func refuseLoss(ctx context.Context, conn *pgx.Conn, options pg.MigrateOptions) error {
	options.DryRun = true
	report, err := pg.Migrate(ctx, conn, options)
	if err != nil {
		return schemaMisuse(err)
	}
	var lost []string
	for _, loss := range report.Lost {
		lost = append(lost, plural(loss.Rows, "row")+" of "+loss.Table)
	}
	if len(lost) == 0 {
		return nil
	}
	return misused("--down deletes %s; add --yes if that is meant", strings.Join(lost, ", "))
}

func printSteps(w io.Writer, report pg.Report) error {
	if len(report.Steps) == 0 {
		_, err := fmt.Fprintln(w, "-- nothing to do")
		return err
	}
	for _, step := range report.Steps {
		if _, err := fmt.Fprintf(w, "-- %s\n%s\n\n", step.Name, strings.TrimSpace(step.SQL)); err != nil {
			return err
		}
	}
	return nil
}

func describeMigration(report pg.Report, down bool) string {
	source := "source " + report.Source
	if report.Variant != "" {
		source += " " + report.Variant
	}
	switch {
	case down && len(report.Steps) == 0:
		return "there is no schema fedsender"
	case down:
		return "the schema fedsender is removed"
	case len(report.Steps) == 0 && report.From == report.To:
		return fmt.Sprintf("the schema fedsender is up to date: version %d, %s", report.To, source)
	case report.From == 0:
		return fmt.Sprintf("the schema fedsender is made: version %d, %s", report.To, source)
	case report.From == report.To:
		return fmt.Sprintf("the schema fedsender is made anew where it was not as it should be: version %d, %s", report.To, source)
	}
	return fmt.Sprintf("the schema fedsender is upgraded from version %d to %d, %s", report.From, report.To, source)
}

// describeSilence says what the role may not do, and how it may.
func describeSilence(report pg.Report, role string) string {
	tables := strings.Join(report.Silent, ", ")
	return fmt.Sprintf("its triggers are missing on %s, so senders look there for news themselves, more often; to have them: grant trigger on %s to %s; then run: sender migrate",
		tables, tables, pgx.Identifier{role}.Sanitize())
}

// migrateReport is what `sender migrate --json` prints.
type migrateReport struct {
	Source  string           `json:"source"`
	Variant string           `json:"variant,omitempty"`
	From    int32            `json:"from_version"`
	To      int32            `json:"to_version"`
	DryRun  bool             `json:"dry_run,omitempty"`
	Steps   []string         `json:"steps"`
	Silent  []string         `json:"silent_tables,omitempty"`
	Viewer  string           `json:"viewer_sql,omitempty"` // for an administrator
	Lost    map[string]int64 `json:"rows_lost,omitempty"`
}

func newMigrateReport(report pg.Report, o migrateOptions) migrateReport {
	r := migrateReport{
		Source: report.Source, Variant: report.Variant, From: report.From, To: report.To, DryRun: o.dryRun,
		Steps: []string{}, Silent: report.Silent, Viewer: report.Viewer, Lost: map[string]int64{},
	}
	for _, step := range report.Steps {
		r.Steps = append(r.Steps, step.Name)
	}
	for _, loss := range report.Lost {
		r.Lost[loss.Table] = loss.Rows
	}
	return r
}
