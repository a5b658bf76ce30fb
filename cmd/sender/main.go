package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

const (
	exitBad   = 1
	exitUsage = 2
	// maxLine is longer than any sentence of this program; what is repeated of wrong arguments may be of any length.
	maxLine = 1500
)

func main() {
	ctx, stop := withSignals(context.Background())
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr, in: os.Stdin, environment: sender.Environ()}
	root := newRoot(a)
	root.SetArgs(os.Args[1:])
	os.Exit(a.finish(root.ExecuteContext(ctx)))
}

// sameSignal: what starts programs for others (timeout(1), make, a shell) often signals both the process and its group.
const sameSignal = 500 * time.Millisecond

// withSignals ends the context at the first SIGTERM or SIGINT and the program at a later one, for whoever does not want
// to wait for deliveries in flight. A terminal that is closed sends SIGHUP, which means the same there.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if isTerminal(os.Stderr) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Owned by the program itself: it ends with it.
	go func() {
		<-signals
		cancel()
		for first := time.Now(); time.Since(first) < sameSignal; {
			<-signals
		}
		fmt.Fprintln(os.Stderr, "sender: ended at once by a second signal; what was in flight may be sent again")
		os.Exit(exitBad)
	}()
	return ctx, cancel
}

// failure is an error of a verb that was used rightly; all others are wrong usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// errSilent is a bad answer that was printed already.
var errSilent = failure{errors.New("the answer is bad")}

// misuse is wrong usage or configuration.
type misuse struct{ text string }

func (m misuse) Error() string { return m.text }

func misused(format string, args ...any) error { return misuse{fmt.Sprintf(format, args...)} }

// finish says what went wrong in one line and returns the exit code.
func (a *app) finish(err error) int {
	if err == nil {
		return 0
	}
	code, text := exitUsage, err.Error()
	var failed failure
	var wrong misuse
	var variable *sender.ConfigError
	switch {
	case errors.Is(err, errSilent):
		return exitBad
	case errors.As(err, &variable):
		text = a.named(variable.Variable) + " " + variable.Problem
	case errors.As(err, &wrong):
	case errors.As(err, &failed):
		code, text = exitBad, a.redact().text(pg.Sentence(err))
	}
	fmt.Fprintln(a.err, "sender: "+shorten(oneLine(text), maxLine))
	return code
}

// oneLine also joins cobra's suggestions to what they belong to.
func oneLine(text string) string { return strings.Join(strings.Fields(safe(text)), " ") }

// verb makes RunE of a function, so that its errors are told from those of wrong usage.
func verb(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd.Context(), args)
		var wrong misuse
		var variable *sender.ConfigError
		if err == nil || errors.As(err, &wrong) || errors.As(err, &variable) {
			return err
		}
		return failure{err}
	}
}
