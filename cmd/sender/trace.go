package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

// targetsShown fits a few screens.
const targetsShown = 100

func (a *app) traceCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "trace AP_ID",
		Short: "For one activity: who should get it, who has it, who waits for it and why",
		Long: `For one activity: who should get it, who has it, who waits for it and why. Who should get it is told
by who follows today, which may differ from who did when it was made.`,
		Args: arguments(1, 1),
		RunE: verb(func(ctx context.Context, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return misused("AP_ID is empty: the id of an activity, as its document has it")
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.trace(ctx, pool, args[0], asJSON, all) })
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, all of them")
	cmd.Flags().BoolVar(&all, "all", false, fmt.Sprintf("list more than %d instances", targetsShown))
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func (a *app) trace(ctx context.Context, pool *pgxpool.Pool, apID string, asJSON, all bool) error {
	t, err := pg.TraceActivity(ctx, pool, apID)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("there is no activity with the id %s", shorten(apID, maxEcho))
	}
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(a.out, t)
	}
	now := time.Now()
	head := newTable(a.out)
	head.row("activity", fmt.Sprintf("%s (%d)", t.APID, t.ID))
	head.row("actor", orDash(t.Actor))
	head.row("published", ago(t.PublishedAt, now))
	if t.ID > t.Horizon {
		head.row("feed", fmt.Sprintf("has settled what is up to %d, not this yet", t.Horizon))
	}
	settled := 0
	for _, target := range t.Targets {
		if target.Settled {
			settled++
		}
	}
	head.row("settled", fmt.Sprintf("for %d of %s", settled, plural(int64(len(t.Targets)), "instance")))
	if err := head.end(); err != nil {
		return err
	}
	return a.printTargets(t, now, all)
}

func (a *app) printTargets(t pg.Trace, now time.Time, all bool) error {
	letters := map[string]pg.DeadLetter{}
	for _, l := range t.DeadLetters {
		switch {
		case l.Domain != "":
			letters[l.Domain] = l
		case l.Inbox != "":
			fmt.Fprintf(a.out, "\nthe inbox %s: %s\n", shorten(l.Inbox, 200), safe(l.Reason))
		default:
			_, err := fmt.Fprintf(a.out, "\nnobody gets it: %s\n", safe(l.Reason))
			return err
		}
	}
	if len(t.Targets) > 0 {
		fmt.Fprintln(a.out)
		list := grid{columns: []column{{title: "INSTANCE", least: 16}, {title: "HAS IT"}, {title: "WHY", least: 20}}}
		shown := t.Targets // those that wait come first
		if !all {
			shown = shown[:min(len(shown), targetsShown)]
		}
		for _, target := range shown {
			letter, isDead := letters[target.Domain]
			switch {
			case isDead:
				list.row([]string{target.Domain, "given up", shorten(letter.Reason, 100)}, "", red)
			case !target.AgainSince.IsZero():
				list.row([]string{target.Domain, "no", whyAgain(target, now)}, "", yellow)
			case target.Settled:
				list.row([]string{target.Domain, "settled", ""}, "", green)
			default:
				list.row([]string{target.Domain, "no", whyNot(target, now)}, "", yellow)
			}
		}
		if err := list.print(a.out, lookOf(a.out)); err != nil {
			return err
		}
		if more := len(t.Targets) - len(shown); more > 0 {
			fmt.Fprintf(a.out, "and %s more (--all lists them)\n", count(int64(more)))
		}
	}
	for _, inbox := range t.Unknown {
		fmt.Fprintf(a.out, "no instance yet for the inbox %s\n", shorten(inbox, 200))
	}
	return nil
}

// whyAgain is why an instance waits for a dead letter that was retried.
func whyAgain(t pg.TraceTarget, now time.Time) string {
	return "is sent again: waiting since " + ago(t.AgainSince, now) + "; " + whyNot(t, now)
}

// whyNot is why an instance waits.
func whyNot(t pg.TraceTarget, now time.Time) string {
	var why []string
	switch t.State {
	case "ok", "lagging":
		if left := t.Throttled(now); left > 0 {
			why = append(why, "it has asked for a pause, next try in "+short(left))
		}
	case "failing", "dead":
		why = append(why, fmt.Sprintf("%s: %s, next try %s: %s", t.State, plural(int64(t.FailCount), "fail"), nextTry(t.NextRetryAt, now), shorten(t.LastError, 80)))
	default:
		why = append(why, t.State)
	}
	if t.IDsBefore > 0 {
		why = append(why, plural(t.IDsBefore, "id")+" before it")
	}
	if t.Holder == "" {
		why = append(why, "no process delivers to it at this moment")
	}
	if len(why) == 0 {
		return "it is next"
	}
	return strings.Join(why, "; ")
}
