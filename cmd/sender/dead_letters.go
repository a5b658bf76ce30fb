package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	}
	needsOneOf(cmd)
	cmd.AddCommand(a.listLettersCommand(), a.actOnLettersCommand("retry", "retried", "Try them again, outside the order of the queue", pg.RetryLetter),
		a.actOnLettersCommand("drop", "dropped", "Give them up for good", pg.DropLetter))
	return cmd
}

func (a *app) listLettersCommand() *cobra.Command {
	var o letterOptions
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "list",
		Short: "List them, the newest first",
		Args:  arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.listLetters(ctx, pool, o) })
		}),
	}
	cmd.Flags().StringVar(&o.domain, "domain", "", "only those for this `DOMAIN`")
	a.completeDomainFlag(cmd)
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
	case len(letters) == 0 && o.domain != "":
		if err := mustKnow(ctx, pool, o.domain); err != nil {
			return err
		}
	}
	switch {
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
	g := grid{columns: []column{
		{title: "ID", right: true}, {title: "LAST TRY", right: true, drop: 2}, {title: "TRIES", right: true, drop: 3}, {title: "INSTANCE", least: 16}, {title: "ACTIVITY", least: 20, drop: 1}, {title: "REASON", least: 20},
	}}
	for _, l := range letters {
		g.row([]string{strconv.FormatInt(l.ID, 10), ago(l.LastAt, now), strconv.Itoa(l.Attempts), orDash(l.Domain), shorten(activityName(l), 120), shorten(l.Reason, 200)})
	}
	if err := g.print(a.out, lookOf(a.out)); err != nil {
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

func (a *app) actOnLettersCommand(name, past, short string, action pg.LetterAction) *cobra.Command {
	var o letterOptions
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   name + " ID… | --domain DOMAIN | --all",
		Short: short,
		RunE: verb(func(ctx context.Context, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			filter, err := chooseLetters(args, o)
			if err != nil {
				return err
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.actOnLetters(ctx, pool, filter, o.json, past, action) })
		}),
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if id, is := negative(err); is {
			return notALetter(id)
		}
		return cmd.Parent().FlagErrorFunc()(cmd, err)
	})
	cmd.Flags().StringVar(&o.domain, "domain", "", "those for this `DOMAIN`")
	a.completeDomainFlag(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "all there are")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

// check looks at what was said of a domain.
func (o letterOptions) check(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("domain") {
		return nil
	}
	return checkDomain(o.domain)
}

func notALetter(id string) error {
	return misused("%s is no id of a dead letter; sender dead-letters list shows them", echo(id))
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
			return filter, notALetter(arg)
		}
		filter.IDs = append(filter.IDs, id)
	}
	return filter, nil
}

// letterReport is what `sender dead-letters retry|drop --json` prints.
type letterReport struct {
	Retried []int64  `json:"retried,omitzero"` // ids; of retry
	Dropped []int64  `json:"dropped,omitzero"` // ids; of drop
	Failed  []string `json:"failed"`           // why others could not be acted on
}

// lettersAtOnce is one round trip, and one transaction: a sender waits for its locks for milliseconds.
const lettersAtOnce = 200

// actOnLetters goes on after one that can't be acted on, and says at the end how many those were.
func (a *app) actOnLetters(ctx context.Context, pool *pgxpool.Pool, filter pg.DeadLetterFilter, asJSON bool, past string, action pg.LetterAction) error {
	done, failed := []int64{}, []string{}
	filter.Limit = lettersAtOnce
	act := func(ids []int64) error {
		settled, refused, err := pg.ActOnDeadLetters(ctx, pool, action, ids)
		done = append(done, settled...)
		for _, r := range refused {
			failed = append(failed, pg.Sentence(r))
		}
		return err
	}
	err := eachLetters(ctx, pool, filter, act)
	if err == nil || len(done) > 0 {
		err = errors.Join(err, a.sayLetters(done, failed, asJSON, past))
	}
	switch {
	case err != nil:
		return err
	case len(failed) == 1:
		return errors.New(failed[0])
	case len(failed) > 1:
		return fmt.Errorf("%d could not be %s, the first because %s", len(failed), past, failed[0])
	}
	return nil
}

// eachLetters acts on those that were named, there or not, or on all that the filter chooses.
func eachLetters(ctx context.Context, pool *pgxpool.Pool, filter pg.DeadLetterFilter, act func(ids []int64) error) error {
	for ids := range slices.Chunk(filter.IDs, lettersAtOnce) {
		if err := act(ids); err != nil {
			return err
		}
	}
	if len(filter.IDs) > 0 {
		return nil
	}
	for last := int64(0); ; {
		ids, err := pg.DeadLetterIDs(ctx, pool, filter, last)
		if err == nil && len(ids) == 0 && last == 0 && filter.Domain != "" {
			err = mustKnow(ctx, pool, filter.Domain)
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := act(ids); err != nil {
			return err
		}
		last = ids[len(ids)-1]
	}
}

func (a *app) sayLetters(done []int64, failed []string, asJSON bool, past string) error {
	if asJSON {
		r := letterReport{Failed: failed}
		if past == "retried" {
			r.Retried = done
		} else {
			r.Dropped = done
		}
		return printJSON(a.out, r)
	}
	if len(done) == 0 && len(failed) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s %s\n", past, plural(int64(len(done)), "dead letter"))
	return err
}
