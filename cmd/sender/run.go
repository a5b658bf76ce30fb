package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Deliver until told to stop",
		Long: `Deliver until told to stop. SIGTERM or SIGINT lets what is in flight end, saves and gives the
work to the other processes; another one, half a second later or more, ends at once. Start as many as you like, anywhere.
SIGHUP, where it is no terminal's, has passwords, tokens and SENDER_CA_FILE read again; where they are in files, these are looked at each 5 s.
The exit code is 0 when it was told to stop, 1 if it was cut short or could not save all.

A database that can't be reached within 10 s at the start ends the program with exit code 1;
one that says that it is not ready (it starts, is a standby, has no connection left), or that
goes away later, is waited for.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error { return a.run(ctx) }),
	}
	a.addVariables(cmd)
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { printRunHelp(cmd.OutOrStdout(), cmd) })
	return cmd
}

func (a *app) run(ctx context.Context) error {
	config, err := sender.ParseConfig(a.environment)
	if err != nil {
		return err
	}
	a.secrets = append(a.secrets, config.AdminToken)
	if _, err := a.parseDSN(databaseVariable, config.DatabaseURL); err != nil {
		return err
	}
	if config.LeaseDatabaseURL != "" {
		if _, err := a.parseDSN(leaseVariable, config.LeaseDatabaseURL); err != nil {
			return err
		}
	}
	redact := a.redact()
	log := newLog(a.err, config.LogFormat, config.LogLevel, redact)
	slog.SetDefault(log)
	config.Log, config.Version = log, programVersion()
	for _, name := range sender.Unknown(a.environment) {
		if meant := sender.Meant(name); meant != "" {
			log.Warn(name + " is not known and does nothing; is " + meant + " meant?")
			continue
		}
		log.Warn(name + " is not known and does nothing; see sender run --help")
	}
	provider, endTraces, err := openTraces(ctx, a.environment, config)
	if err != nil {
		return err
	}
	defer endTraces()
	if provider != nil {
		config.TracerProvider = provider
	}
	limitMemory(log)
	giveHeadroom(a.environment)
	hangups, unhear := onHangup(isTerminal(a.err))
	defer unhear()
	config.Reload = a.reload(redact, hangups)
	config.Notify = newManager(log).notify
	err = sender.Run(ctx, config)
	if errors.Is(err, pg.ErrPooled) {
		return misuse{pg.ErrPooled.Error()}
	}
	if unsaved := (*sender.UnsavedError)(nil); errors.As(err, &unsaved) {
		log.Warn(unsaved.Error())
		return errSilent
	}
	if err != nil {
		return schemaMisuse(err)
	}
	return nil
}

// limitMemory gives Go 90 % of the container's memory, where there is a limit and GOMEMLIMIT is unset. GOMAXPROCS is set by
// Go itself. The first line of the log says both.
func limitMemory(log *slog.Logger) {
	if _, err := memlimit.Set(); err != nil {
		log.Debug("the container's memory limit is not known", "error", err)
	}
}

// printRunHelp lists the variables, which say more than flags alone.
func printRunHelp(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  sender run [flags]\n\nEach setting is a flag or a variable of the environment; the flag wins.\n", cmd.Long)
	for _, v := range sender.Variables() {
		fmt.Fprintf(w, "\n  --%s, %s", v.Flag, v.Name)
		if v.FileName != "" {
			fmt.Fprintf(w, " (or the file that %s names)", v.FileName)
		}
		shown := "default " + v.Default
		if v.Default == "" {
			shown = "no default"
		}
		fmt.Fprintf(w, "\n      %s\n      %s; %s\n", v.Usage, v.Unit, shown)
	}
	fmt.Fprint(w, `
  PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE, PGSERVICE, … (environment only)
      fill in what DATABASE_URL leaves open, or stand for it
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY (environment only)
      the proxy that deliveries take; URL; no default
  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, … (environment only)
      where traces go by OTLP over HTTP, and which are kept; URL; no default: there are none
  GOMAXPROCS, GOMEMLIMIT (environment only)
      processors and bytes of memory; default: the container's limits
  GOGC (environment only)
      garbage that is collected at one time; percent of what is in use; default 100, and at least 32 MiB

A password in a flag can be read by everybody on the machine: use the variable or its file.
`)
}
