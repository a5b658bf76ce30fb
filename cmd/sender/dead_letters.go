package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

// lettersShown fits a few screens.
const lettersShown = 100

type letterOptions struct {
	domain    string
	all, json bool
}

func (a *app) deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Act on activities that an otherwise healthy instance cannot take",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return misused("dead-letters needs one of list, retry, drop")
		},
	}
	cmd.AddCommand(a.listLettersCommand(), a.actOnLettersCommand("retry", "retried", "Try them again, outside the order of the queue", pg.RetryDeadLetter),
		a.actOnLettersCommand("drop", "dropped", "Give them up for good", pg.DropDeadLetter))
	return cmd
}

func (a *app) listLettersCommand() *cobra.Command {
	var o letterOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List them, the newest first",
		Args:  arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.listLetters(ctx, pool, o) })
		}),
	}
	cmd.Flags().StringVar(&o.domain, "domain", "", "only those for this `DOMAIN`")
	cmd.Flags().BoolVar(&o.all, "all", false, fmt.Sprintf("list more than %d", lettersShown))
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, all of them")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func (a *app) listLetters(ctx context.Context, pool *pgxpool.Pool, o letterOptions) error {
	filter := pg.DeadLetterFilter{Domain: o.domain, Limit: lettersShown + 1}
	if o.all || o.json {
		filter.Limit = 0
	}
	letters, err := pg.DeadLetters(ctx, pool, filter)
	switch {
	case err != nil:
		return err
	case o.json:
		return printJSON(a.out, orEmptyList(letters))
	case len(letters) == 0:
		_, err := fmt.Fprintln(a.out, "no dead letters")
		return err
	}
	more := filter.Limit > 0 && len(letters) == filter.Limit
	if more {
		letters = letters[:lettersShown]
	}
	now := time.Now()
	t := newTable(a.out, "ID", "LAST TRY", "TRIES", "INSTANCE", "ACTIVITY", "REASON")
	for _, l := range letters {
		t.row(strconv.FormatInt(l.ID, 10), ago(l.LastAt, now), strconv.Itoa(l.Attempts), orDash(l.Domain),
			shorten(activityName(l), 60), shorten(l.Reason, 80))
	}
	if err := t.end(); err != nil {
		return err
	}
	if more {
		_, err = fmt.Fprintln(a.out, "and more (--all lists them)")
	}
	return err
}

func activityName(l pg.DeadLetter) string {
	if l.APID == "" {
		return fmt.Sprintf("%d (gone)", l.ActivityID)
	}
	return l.APID
}

func (a *app) actOnLettersCommand(name, past, short string, act func(context.Context, pg.Querier, int64) error) *cobra.Command {
	var o letterOptions
	cmd := &cobra.Command{
		Use:   name + " ID… | --domain DOMAIN | --all",
		Short: short,
		RunE: verb(func(ctx context.Context, args []string) error {
			filter, err := chooseLetters(args, o)
			if err != nil {
				return err
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.actOnLetters(ctx, pool, filter, o.json, past, act) })
		}),
	}
	cmd.Flags().StringVar(&o.domain, "domain", "", "those for this `DOMAIN`")
	cmd.Flags().BoolVar(&o.all, "all", false, "all there are")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func chooseLetters(args []string, o letterOptions) (pg.DeadLetterFilter, error) {
	filter := pg.DeadLetterFilter{Domain: o.domain}
	ways := 0
	for _, chosen := range []bool{len(args) > 0, o.domain != "", o.all} {
		if chosen {
			ways++
		}
	}
	if ways != 1 {
		return filter, misused("say which dead letters: their ids, or --domain DOMAIN, or --all")
	}
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return filter, misused("%q is no id of a dead letter; sender dead-letters list shows them", arg)
		}
		filter.IDs = append(filter.IDs, id)
	}
	return filter, nil
}

// actOnLetters goes on after one that can't be acted on, and says at the end how many those were.
func (a *app) actOnLetters(ctx context.Context, pool *pgxpool.Pool, filter pg.DeadLetterFilter, asJSON bool, past string, act func(context.Context, pg.Querier, int64) error) error {
	ids := filter.IDs
	if len(ids) == 0 {
		letters, err := pg.DeadLetters(ctx, pool, filter)
		if err != nil {
			return err
		}
		for _, l := range letters {
			ids = append(ids, l.ID)
		}
	}
	done, failed := []int64{}, []string{}
	for _, id := range ids {
		err := act(ctx, pool, id)
		switch {
		case err == nil:
			done = append(done, id)
		case ctx.Err() != nil || !isAnswer(err):
			return err
		default:
			failed = append(failed, pg.Sentence(err))
		}
	}
	if asJSON {
		if err := printJSON(a.out, map[string]any{past: done, "failed": failed}); err != nil {
			return err
		}
	} else if len(done) > 0 || len(failed) == 0 {
		fmt.Fprintf(a.out, "%s %s\n", past, plural(int64(len(done)), "dead letter"))
	}
	switch {
	case len(failed) == 1:
		return errors.New(failed[0])
	case len(failed) > 1:
		return fmt.Errorf("%d could not be %s, the first because %s", len(failed), past, failed[0])
	}
	return nil
}
