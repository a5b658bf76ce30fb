package main

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/pg"
)

const (
	// troubleShown fits a screen; --all shows the rest.
	troubleShown = 20
	// troubleLeast are shown on the smallest screen.
	troubleLeast = 3
)

type statusOptions struct {
	watch, json, all bool
	domain           string
}

// statusReport is what `sender status --json` prints.
type statusReport struct {
	Problems  []string            `json:"problems"` // what is wrong, and what to do about it; empty: nothing
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
				if err := checkDomain(args[0]); err != nil {
					return err
				}
				o.domain = args[0]
			}
			return a.withDatabase(ctx, func(pool *pgxpool.Pool) error { return a.status(ctx, pool, o) })
		}),
	}
	cmd.ValidArgsFunction = a.completeDomain
	cmd.Flags().BoolVar(&o.watch, "watch", false, "show it again every 2 seconds, on a terminal in place, until Ctrl-C")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON; with --watch, one object a line")
	cmd.Flags().BoolVar(&o.all, "all", false, "list every instance, not only the first that are in trouble")
	a.addVariables(cmd, databaseVariable)
	return cmd
}

func (a *app) status(ctx context.Context, pool *pgxpool.Pool, o statusOptions) error {
	read := func(l look) (picture, error) {
		if o.domain != "" {
			return readDomainStatus(ctx, pool, o)
		}
		return readStatus(ctx, pool, l, o)
	}
	if o.watch {
		cfg := pool.Config().ConnConfig
		explain := func(err error) error { return pg.Explain(pg.ExplainTimeout(ctx, err, cfg), cfg) }
		return a.watch(ctx, read, explain, o.json)
	}
	l := lookOf(a.out)
	draw, err := read(l)
	if err != nil {
		return err
	}
	return draw(a.out, l)
}

// draw writes the report. Where it is looked at in place it has as many instances as there is room for, so that the rest is seen, too.
func (r statusReport) draw(w io.Writer, l look, o statusOptions) error {
	now := time.Now()
	if o.json {
		return o.print(w, r)
	}
	if !o.watch || o.all || l.height == 0 {
		return printStatus(w, l, r, now)
	}
	for room := l.height - watchHead; ; {
		var text bytes.Buffer
		if err := printStatus(&text, l, r, now); err != nil {
			return err
		}
		over := bytes.Count(text.Bytes(), []byte("\n")) - room
		if most := max(troubleLeast, len(r.Instances)-over); over > 0 && most < len(r.Instances) {
			r.Instances = r.Instances[:most]
			continue
		}
		_, err := text.WriteTo(w)
		return err
	}
}

func (o statusOptions) print(w io.Writer, value any) error {
	if o.watch {
		return printJSONLine(w, value)
	}
	return printJSON(w, value)
}

func readStatus(ctx context.Context, pool *pgxpool.Pool, l look, o statusOptions) (picture, error) {
	filter := pg.InstanceStatusFilter{}
	if !o.all && !o.json {
		filter = pg.InstanceStatusFilter{Trouble: true, Limit: troubleShown}
		if o.watch {
			filter.Limit = max(troubleShown, l.height)
		}
	}
	report, err := reportStatus(ctx, pool, filter)
	return func(w io.Writer, l look) error { return report.draw(w, l, o) }, err
}

func reportStatus(ctx context.Context, pool *pgxpool.Pool, filter pg.InstanceStatusFilter) (report statusReport, err error) {
	if report.Summary, err = pg.Summary(ctx, pool); err != nil {
		return report, err
	}
	if report.Off, err = pg.FederationOff(ctx, pool); err != nil {
		return report, err
	}
	if report.Processes, err = pg.Processes(ctx, pool); err != nil {
		return report, err
	}
	for _, p := range report.Processes {
		report.Held += int64(p.Leases)
	}
	report.Instances, err = pg.InstanceStatuses(ctx, pool, filter)
	report.Processes, report.Instances = orEmptyList(report.Processes), orEmptyList(report.Instances)
	report.Problems = problems(report)
	return report, err
}
