package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/test/demo"
	"github.com/fedsender/fedsender/test/postgres"
)

func (a *app) demoCommand() *cobra.Command {
	o := demo.Options{Out: a.out}
	var source string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a private Postgres, a simulated fediverse, three senders",
		Long: `See it work, in half a minute: a private Postgres, simulated servers, three senders that
deliver to them, and an application that writes activities. Some servers are slow, flaky, busy
or down, and one of the senders is killed. At the end the servers' ledger says what arrived.

No database of yours is touched, nothing is sent anywhere but to 127.0.0.1, and nothing is left
behind. Where there is no Postgres its programs are downloaded (15 MB) and kept in your cache
directory.

Exit code 1 says that something was lost, out of order or refused.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			o.Postgres = postgres.Binaries(source)
			return runDemo(ctx, o)
		}),
	}
	cmd.Flags().StringVar(&source, "postgres", string(postgres.AutoBinaries),
		"`source` of Postgres: auto (local, else downloaded), local or embedded")
	cmd.Flags().IntVar(&o.Instances, "instances", 200, "how many servers are simulated")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "go on after the verdict until Ctrl-C, to look around")
	cmd.Flags().IntVar(&o.Activities, "activities", 0, "how many activities are written")
	_ = cmd.Flags().MarkHidden("activities") // it is there
	cmd.AddCommand(a.receiverCommand())
	return cmd
}

func runDemo(ctx context.Context, o demo.Options) (err error) {
	switch o.Postgres {
	case postgres.AutoBinaries, postgres.LocalBinaries, postgres.EmbeddedBinaries:
	default:
		return misused("--postgres must be auto, local or embedded, not %q", o.Postgres)
	}
	if o.Instances < demo.MinInstances || o.Instances > demo.MaxInstances {
		return misused("--instances must be from %d to %d, not %d", demo.MinInstances, demo.MaxInstances, o.Instances)
	}
	if o.Binary, err = os.Executable(); err != nil {
		return err
	}
	// A terminal that is closed and a pipe that nobody reads any more must not end us before we have tidied up. The
	// signals are caught, not ignored, because children would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	if err := demo.Run(ctx, o); !errors.Is(err, demo.ErrBad) {
		return err
	}
	return errSilent
}
