package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

const (
	// watchEvery leaves the database alone: the status reads pg_locks, which is dear where many leases are held.
	watchEvery = 2 * time.Second
	// troubleShown fits a screen; --all shows the rest.
	troubleShown = 20
	// clearScreen homes the cursor and clears what is below (ECMA-48).
	clearScreen = "\x1b[H\x1b[2J"
)

type statusOptions struct {
	watch, json, all bool
	domain           string
}

// statusReport is what `sender status --json` prints.
type statusReport struct {
	Summary   pg.QueueSummary     `json:"summary"`
	Off       bool                `json:"federation_off"` // nothing is sent to anybody
	Held      int64               `json:"held_instances"` // that a process holds; the others get nothing at the moment
	Processes []pg.ProcessStatus  `json:"processes"`
	Instances []pg.InstanceStatus `json:"instances"`
}

func (a *app) statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [DOMAIN]",
		Short: "Show where federation stands, what is wrong first",
		Args:  arguments(0, 1),
		RunE: verb(func(ctx context.Context, args []string) error {
			if len(args) == 1 {
				o.domain = args[0]
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.status(ctx, pool, o) })
		}),
	}
	cmd.Flags().BoolVar(&o.watch, "watch", false, "show it again every 2 seconds")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON; with --watch, one object after the other")
	cmd.Flags().BoolVar(&o.all, "all", false, "list every instance, not only the first that are in trouble")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func (a *app) status(ctx context.Context, pool *pgxpool.Pool, o statusOptions) error {
	for {
		var screen bytes.Buffer
		if err := a.statusOnce(ctx, pool, &screen, o); err != nil {
			if o.watch && ctx.Err() != nil {
				return nil
			}
			return err
		}
		if o.watch && isTerminal(a.out) && !o.json {
			fmt.Fprint(a.out, clearScreen)
		}
		if _, err := screen.WriteTo(a.out); err != nil || !o.watch {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

func (a *app) statusOnce(ctx context.Context, pool *pgxpool.Pool, w io.Writer, o statusOptions) error {
	if o.domain != "" {
		return a.domainStatus(ctx, pool, w, o)
	}
	var report statusReport
	var err error
	if report.Summary, err = pg.Summary(ctx, pool); err != nil {
		return err
	}
	if report.Off, err = pg.FederationOff(ctx, pool); err != nil {
		return err
	}
	if report.Processes, err = pg.Processes(ctx, pool); err != nil {
		return err
	}
	for _, p := range report.Processes {
		report.Held += int64(p.Leases)
	}
	filter := pg.InstanceStatusFilter{}
	if !o.all && !o.json {
		filter = pg.InstanceStatusFilter{Trouble: true, Limit: troubleShown}
	}
	if report.Instances, err = pg.InstanceStatuses(ctx, pool, filter); err != nil {
		return err
	}
	if o.json {
		return printJSON(w, report)
	}
	return printStatus(w, report, time.Now())
}

func printStatus(w io.Writer, r statusReport, now time.Time) error {
	if r.Summary.Processes == 0 {
		fmt.Fprintln(w, "No sender process is running: nothing is delivered. Start one: sender run")
	}
	if r.Off {
		fmt.Fprintln(w, "Federation is switched off as a whole: nothing is sent to anybody, and all cursors stand still. Switch it on in the application.")
	}
	printHung(w, r.Processes)
	if len(r.Instances) > 0 {
		t := newTable(w, "INSTANCE", "STATE", "BEHIND", "LAG", "FAILS", "NEXT TRY", "DEAD LETTERS", "LAST ERROR")
		for _, i := range r.Instances {
			lastError := i.LastError
			if i.State == "ok" {
				lastError = ""
			}
			t.row(i.Domain, i.State, count(i.IDsBehind), short(seconds(i.LagSeconds)), count(int64(i.FailCount)),
				nextTry(i.NextRetryAt, now), count(i.DeadLetters), shorten(lastError, 60))
		}
		if err := t.end(); err != nil {
			return err
		}
		shown := int64(len(r.Instances))
		if trouble := r.Summary.Instances - r.Summary.OK; shown < trouble {
			fmt.Fprintf(w, "and %s more in trouble (--all lists them)\n", count(trouble-shown))
		}
		fmt.Fprintln(w)
	}
	s := r.Summary
	fmt.Fprintf(w, "%s: %s ok", plural(s.Instances, "instance"), count(s.OK))
	for _, state := range []struct {
		name   string
		number int64
	}{{"failing", s.Failing}, {"lagging", s.Lagging}, {"dead", s.Dead}, {"paused", s.Paused}, {"blocked", s.Blocked}} {
		if state.number > 0 {
			fmt.Fprintf(w, ", %s %s", count(state.number), state.name)
		}
	}
	if without := s.Instances - r.Held; without > 0 && len(r.Processes) > 0 {
		fmt.Fprintf(w, "\nheld: %s of %s; nobody delivers to the other %s at this moment", count(r.Held), plural(s.Instances, "instance"), count(without))
	}
	fmt.Fprintf(w, "\nqueue: highest id %s, read up to %s; oldest lag of an instance that takes deliveries %s; %s\n",
		count(s.HighestID), count(s.Horizon), short(seconds(s.OldestLagSeconds)), plural(s.DeadLetters, "dead letter"))
	if len(r.Processes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "PROCESS", "ADDRESS", "VERSION", "UP", "SILENT", "LEASES", "MAX LEASES", "IN FLIGHT", "DELIVERED/S", "LOAD", "FAIR", "CAPACITY")
	for _, p := range r.Processes {
		t.row(p.Name, p.Address, p.Version, short(now.Sub(p.Since)), silence(&p), count(int64(p.Leases)), atMost(p.MaxLeases), count(int64(p.InFlight)), fmt.Sprintf("%.1f", p.DeliveredPerS),
			fmt.Sprintf("%.1f", p.Load), fmt.Sprintf("%.1f", p.FairLoad), fmt.Sprintf("%d%%", p.Capacity))
	}
	return t.end()
}

// printHung names the processes whose instances wait, and what ends that.
func printHung(w io.Writer, processes []pg.ProcessStatus) {
	for i := range processes {
		p := &processes[i]
		if !p.Hangs() {
			continue
		}
		end := fmt.Sprintf("select pg_terminate_backend(%d)", p.PID)
		switch {
		case p.EndedByOthers():
			end = "the others end its session after 30 s, if their role may; to end it: " + end
		case p.MayEnd:
			end = "end its session: " + end
		default:
			end = fmt.Sprintf("end its session as role %s or a superuser: %s", safe(p.Role), end)
		}
		fmt.Fprintf(w, "Process %s has been silent for %s; its %s wait; %s\n", safe(p.Name), silence(p), plural(int64(p.Leases), "instance"), end)
	}
}

// silence is what the process is known to do: how long it has said nothing, in whole seconds.
func silence(p *pg.ProcessStatus) string {
	switch {
	case p.Leaving && !p.Hangs():
		return "leaving"
	case p.SilentSeconds == nil:
		return "?"
	}
	return short(seconds(*p.SilentSeconds).Truncate(time.Second))
}

func atMost(leases int) string {
	if leases == 0 {
		return "-"
	}
	return count(int64(leases))
}

// errNoInstance is the answer to a question about a domain that is none.
var errNoInstance = errors.New("there is no instance with this domain; sender status --all lists them, IDN domains are in punycode")

func (a *app) domainStatus(ctx context.Context, pool *pgxpool.Pool, w io.Writer, o statusOptions) error {
	found, err := pg.InstanceStatuses(ctx, pool, pg.InstanceStatusFilter{Domain: o.domain})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", o.domain, errNoInstance)
	}
	i := found[0]
	if o.json {
		return printJSON(w, i)
	}
	now := time.Now()
	t := newTable(w)
	t.row("instance", i.Domain)
	t.row("state", i.State)
	t.row("behind", fmt.Sprintf("%s, cursor at %s", plural(i.IDsBehind, "id"), count(i.CursorID)))
	t.row("lag", short(seconds(i.LagSeconds)))
	t.row("fails", count(int64(i.FailCount)))
	t.row("next try", nextTry(i.NextRetryAt, now))
	t.row("last success", ago(i.LastSuccessAt, now))
	t.row("last error", orDash(i.LastError))
	t.row("delivered by", orDash(i.Holder))
	t.row("dead letters", count(i.DeadLetters))
	return t.end()
}

// nextTry is how long until then: "in 5m20s", "due", or a dash.
func nextTry(at, now time.Time) string {
	switch {
	case at.IsZero():
		return "-"
	case !at.After(now):
		return "due"
	}
	return "in " + short(at.Sub(now))
}

func ago(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return short(now.Sub(at)) + " ago"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
