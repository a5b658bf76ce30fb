package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

// app is what the verbs share.
type app struct {
	out, err    io.Writer
	in          io.Reader
	environment map[string]string
	flags       map[string]*pflag.Flag // by variable

	secrets []string // values that must never be shown
	open    []string // names in the open, though one of them may be the password as well
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sender",
		Short: "Deliver ActivityPub activities from a Postgres database",
		Long: `sender delivers the activities that an application INSERTs into its Postgres database
to the servers that should have them. Any number of identical processes share the work.

Start with: sender demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misused("%s; see %s --help", err, cmd.CommandPath())
	})
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.AddCommand(
		a.runCommand(), a.migrateCommand(), a.statusCommand(), a.doctorCommand(), a.demoCommand(),
		a.pauseCommand(), a.resumeCommand(), a.retryCommand(), a.skipCommand(), a.replayCommand(),
		a.deadLettersCommand(), a.traceCommand(), a.enqueueCommand(), a.versionCommand(), a.healthcheckCommand(), a.manCommand(),
	)
	root.PersistentPreRunE = checkTexts
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			needsOneOf(cmd)
		}
	}
	completeNoFiles(root)
	return root
}

// addVariables gives the command a flag for each of the named variables; nil means all.
func (a *app) addVariables(cmd *cobra.Command, names ...string) {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	if a.flags == nil {
		a.flags = map[string]*pflag.Flag{}
	}
	flags := map[string]*pflag.Flag{}
	for _, v := range sender.Variables() {
		if len(names) > 0 && !wanted[v.Name] {
			continue
		}
		cmd.Flags().String(v.Flag, "", fmt.Sprintf("%s (`value`: %s; %s)", v.Usage, v.Unit, v.Name))
		flag := cmd.Flags().Lookup(v.Flag)
		if v.Unit == "true|false" {
			flag.NoOptDefVal = "true"
		}
		flags[v.Name] = flag
	}
	cmd.PreRunE = func(*cobra.Command, []string) error {
		a.flags = flags
		a.environment = withFlags(a.environment, flags)
		return nil
	}
}

// variableFlags are those flags of the command that stand for variables, by the variable.
func variableFlags(cmd *cobra.Command) map[string]*pflag.Flag {
	flags := map[string]*pflag.Flag{}
	for _, v := range sender.Variables() {
		if flag := cmd.Flags().Lookup(v.Flag); flag != nil {
			flags[v.Name] = flag
		}
	}
	return flags
}

// withFlags lays flags that were given over the environment. The value of a flag also beats a _FILE variable.
func withFlags(environment map[string]string, flags map[string]*pflag.Flag) map[string]string {
	merged := maps.Clone(environment)
	for name, flag := range flags {
		if flag.Changed {
			merged[name] = flag.Value.String()
			delete(merged, name+"_FILE")
		}
	}
	return merged
}

// named is how the user gave the variable its value.
func (a *app) named(variable string) string {
	if flag := a.flags[variable]; flag != nil && flag.Changed {
		return "--" + flag.Name
	}
	return variable
}

const databaseVariable, leaseVariable = "DATABASE_URL", "SENDER_LEASE_DATABASE_URL"

// connConfig is the connection to the database. Its errors are of wrong configuration.
func (a *app) connConfig() (*pgx.ConnConfig, error) {
	dsn, err := sender.ParseDatabaseURL(a.environment)
	if err != nil {
		return nil, err
	}
	return a.parseDSN(databaseVariable, dsn)
}

func (a *app) parseDSN(variable, dsn string) (*pgx.ConnConfig, error) {
	if dsn == "" && !pg.IsConfigured() {
		return nil, misused("%s is not set; give it a postgres:// URL, or set the PG* variables", variable)
	}
	a.secrets = append(a.secrets, dsn)
	cfg, err := pg.ParseConfig(dsn)
	if err != nil {
		if dsn == "" {
			variable = "PG* variables: the connection string they make"
		}
		return nil, misused("%s %s", a.named(variable), err)
	}
	a.secrets = append(a.secrets, cfg.Password)
	a.open = append(a.open, cfg.User, cfg.Database, cfg.Host)
	return cfg, nil
}

// withDatabase connects, so that no statement takes longer than a person waits, makes sure that the schema is the one of
// this program, and runs fn.
func (a *app) withDatabase(ctx context.Context, fn func(pool *pgxpool.Pool) error) error {
	cfg, err := a.connConfig()
	if err != nil {
		return err
	}
	pg.BoundForPerson(cfg)
	pool, err := pg.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := schemaMisuse(pg.CheckSchema(ctx, pool)); err != nil {
		return pg.ExplainTimeout(ctx, err, cfg)
	}
	return pg.ExplainTimeout(ctx, fn(pool), cfg)
}

// schemaMisuse makes wrong configuration of a schema that does not fit the program.
func schemaMisuse(err error) error {
	for _, kind := range []error{pg.ErrNoSchema, pg.ErrSchemaOlder, pg.ErrSchemaNewer, pg.ErrOtherSource, pg.ErrBadSource} {
		if errors.Is(err, kind) {
			return misuse{err.Error()}
		}
	}
	return err
}
