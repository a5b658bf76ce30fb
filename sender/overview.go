package sender

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/pg"
)

const (
	// overviewAge is how long all who look at the page share one look at the database.
	overviewAge = 2 * time.Second
	// maxWorst is how many instances the page shows.
	maxWorst = 50
)

// overview is what the page shows.
type overview struct {
	engine *engine
	mu     sync.Mutex
	at     time.Time
	last   admin.Overview
}

// get is safe for several goroutines; they wait for each other.
func (o *overview) get(ctx context.Context) (admin.Overview, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.at) < overviewAge {
		return o.last, nil
	}
	fresh, err := o.engine.overview(ctx)
	if err == nil {
		o.last, o.at = fresh, time.Now()
	}
	return fresh, err
}

func (e *engine) overview(ctx context.Context) (admin.Overview, error) {
	shown := admin.Overview{Name: e.config.Name, Version: e.config.Version}
	summary, err := pg.Summary(ctx, e.pool)
	if err != nil {
		return shown, err
	}
	if err := e.lockReads.Wait(ctx); err != nil {
		return shown, err
	}
	processes, err := pg.Processes(ctx, e.pool)
	if err != nil {
		return shown, err
	}
	worst, err := pg.InstanceStatuses(ctx, e.pool, pg.InstanceStatusFilter{Trouble: true, Limit: maxWorst, NoHolder: true})
	if err != nil {
		return shown, err
	}
	shown.Facts = []admin.Fact{
		{Name: "Instances", Value: fmt.Sprintf("%d: %d ok, %d lagging, %d failing, %d dead, %d paused, %d blocked", summary.Instances,
			summary.OK, summary.Lagging, summary.Failing, summary.Dead, summary.Paused, summary.Blocked)},
		{Name: "Oldest that waits", Value: seconds(summary.OldestLagSeconds)},
		{Name: "Newest activity", Value: fmt.Sprintf("id %d, read to %d", summary.HighestID, summary.Horizon)},
		{Name: "Dead letters", Value: fmt.Sprint(summary.DeadLetters)},
	}
	for _, p := range processes {
		shown.Facts = append(shown.Facts, admin.Fact{Name: "Process " + p.Name, Value: fmt.Sprintf(
			"holds %d instances, %d in flight, %.1f deliveries a second", p.Leases, p.InFlight, p.DeliveredPerS)})
	}
	for _, i := range worst {
		row := admin.Instance{
			Domain: i.Domain, State: i.State, Behind: fmt.Sprint(i.IDsBehind), Fails: fmt.Sprint(i.FailCount), LastError: i.LastError,
		}
		if wait := time.Until(i.NextRetryAt); wait > 0 {
			row.NextRetry = "in " + wait.Round(time.Second).String()
		}
		shown.Worst = append(shown.Worst, row)
	}
	return shown, nil
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
