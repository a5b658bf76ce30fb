package sender

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

const (
	// reportEvery is the log that admins know; processEvery keeps process_status fresh.
	reportEvery  = time.Minute
	processEvery = 5 * time.Second
	// upkeepEvery is how often old rows are deleted; again at once while there are more.
	upkeepEvery = 5 * time.Minute
	// maxReported bounds the lines of one report.
	maxReported = 20
)

// trouble is one line of the report.
type trouble struct {
	id     int32
	behind int64
	status worker.Status
}

// runReports says each minute who can't be delivered to, and each few seconds what this process does, for the views and for
// who judges by the loads of all.
func (e *engine) runReports(ctx context.Context) {
	report, process := time.NewTicker(reportEvery), time.NewTicker(processEvery)
	defer report.Stop()
	defer process.Stop()
	last := e.delivered.Load()
	write := func(perSecond float64) {
		if err := pg.WriteProcess(ctx, e.pool, e.said(time.Now(), perSecond)); err != nil {
			e.troubled(ctx, "could not write what this process does", err)
		}
	}
	judge := &lease.Judge{}
	write(0)
	e.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-report.C:
			e.report()
			e.look(ctx)
			e.lookBack(ctx)
		case <-process.C:
			done := e.delivered.Load()
			write(float64(done-last) / processEvery.Seconds())
			last = done
			if err := e.weigh(ctx, judge); err != nil {
				e.troubled(ctx, "could not look at the loads of all processes; looking again in 5 s", err)
			}
			if err := e.noteDemand(ctx); err != nil {
				e.troubled(ctx, "could not note how many processes are needed", err)
			}
		}
	}
}

// address is where the admin server of this process is found, as far as the process can tell; empty: it has none.
func (e *engine) address() string {
	host, port, err := net.SplitHostPort(e.config.AdminAddr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _ = os.Hostname() // without one the port is left
	}
	return net.JoinHostPort(host, port)
}

// look refreshes the gauges that only the database knows.
func (e *engine) look(ctx context.Context) {
	letters, usage, err := pg.Gauges(ctx, e.pool)
	if err != nil {
		e.troubled(ctx, "could not read the figures of the database", err)
		return
	}
	e.deadLetters.Store(math.Float64bits(letters))
	e.queueUsage.Store(math.Float64bits(usage))
}

// report logs a line for each instance that fails and one for the rest.
func (e *engine) report() {
	now := time.Now()
	failing, counts := e.dispatcher.troubles(now)
	slices.SortFunc(failing, func(a, b trouble) int { return int(b.behind - a.behind) })
	for i, t := range failing {
		if i == maxReported {
			e.log.Info(fmt.Sprintf("and %d more that fail", len(failing)-maxReported))
			break
		}
		line := fmt.Sprintf("%s: %d behind, %d fails", e.domains([]int32{t.id}, 1), t.behind, t.status.FailCount)
		if wait := t.status.NextTry.Sub(now); wait > 0 {
			line += ", next try in " + wait.Round(time.Second).String()
		}
		e.log.Info(line, "state", string(t.status.Word))
	}
	e.log.Info("delivering", "instances", counts.slots, "failing", len(failing), "behind", counts.behind,
		"in_flight", counts.inFlight, "delivered", e.delivered.Load(), "head", counts.head)
}

// counts is the dispatcher in figures.
type counts struct {
	slots, behind, inFlight int
	head                    int64
	headAt                  time.Time
}

func (d *dispatcher) count() counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return counts{slots: len(d.slots), behind: d.behind, inFlight: d.inFlight, head: d.head, headAt: d.headAt}
}

func (d *dispatcher) troubles(now time.Time) (failing []trouble, c counts) {
	c = d.count()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.slots {
		if status := s.worker.Status(now); status.Word != worker.WordOK && status.Word != worker.WordPaused {
			failing = append(failing, trouble{s.id, c.head - s.worker.Cursor(), status})
		}
	}
	return failing, c
}

// runUpkeep deletes old rows until ctx ends.
func (e *engine) runUpkeep(ctx context.Context) {
	for wait := time.Minute; ; {
		if pause(ctx, wait); ctx.Err() != nil {
			return
		}
		wait = upkeepEvery
		lowest, deleted, err := pg.Prune(ctx, e.pool, e.config.Retention)
		if err != nil {
			e.troubled(ctx, "could not delete old rows; trying again", err)
			continue
		}
		e.index.PruneTombstones(lowest)
		if deleted > 0 {
			e.log.Log(ctx, slog.LevelDebug, "deleted old activities", "count", deleted)
			wait = time.Second
		}
	}
}
