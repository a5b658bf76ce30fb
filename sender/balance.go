package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/pg"
)

// readWeights reads what all processes plan with.
func (e *engine) readWeights(ctx context.Context) (*lease.Weights, error) {
	row, err := pg.ReadBalance(ctx, e.pool)
	if err != nil {
		return nil, pg.Explain(err, e.poolConfig)
	}
	w := &lease.Weights{}
	if err := json.Unmarshal(row.Weights, w); err != nil {
		return nil, unfit(err)
	}
	if err := w.Check(); err != nil {
		return nil, unfit(err)
	}
	w.Version = row.Version
	return w, nil
}

func unfit(why error) error {
	return fmt.Errorf("fedsender.balance holds no weights that can be planned with (%w); to begin anew: delete from fedsender.balance", why)
}

// said is what this process says of itself.
func (e *engine) said(now time.Time, deliveredPerSecond float64) pg.Process {
	counts := e.dispatcher.count()
	p := pg.Process{
		ID: e.id, Name: e.config.Name, Address: e.address(), Version: e.config.Version,
		InFlight: counts.inFlight, DeliveredPerSecond: deliveredPerSecond, Leases: counts.slots, Speed: e.speed.perSecond(now),
	}
	var busiest []busyInstance
	p.Load, busiest = e.dispatcher.load(now)
	for _, b := range busiest {
		p.HeavyIDs = append(p.HeavyIDs, b.id)
		p.HeavyLoads = append(p.HeavyLoads, float32(b.load))
	}
	e.pressure.look(now, e.dispatcher.demand(now), e.config.MaxInFlight, &p)
	return p
}

// weigh looks at the loads of all processes and has them plan with other weights when that betters anything. The first
// present process does it for all.
func (e *engine) weigh(ctx context.Context, judge *lease.Judge) error {
	keeper := e.keeper.Load()
	if keeper == nil {
		return nil
	}
	plan := keeper.Plan()
	members := plan.Members()
	if len(members) < 2 || members[0] != e.id {
		return nil
	}
	loads, err := pg.ProcessLoads(ctx, e.pool, members)
	if err != nil || len(loads) == 0 {
		return err
	}
	next, deal := judge.Look(plan, reportsOf(loads), loads[0].Now)
	if !deal {
		return nil
	}
	text, err := json.Marshal(&next)
	if err != nil {
		return err
	}
	written, err := pg.WriteBalance(ctx, e.pool, pg.Balance{Version: next.Version, Weights: text, MadeBy: e.id})
	if err != nil {
		return err
	}
	if written {
		e.log.Info("sharing the instances by other weights", "version", next.Version, "heavy", len(next.Heavy))
	}
	keeper.Adopt(next.Version) // also if another process was first
	return nil
}

func reportsOf(loads []pg.ProcessLoad) []lease.Report {
	reports := make([]lease.Report, len(loads))
	for i, l := range loads {
		reports[i] = lease.Report{ID: l.ID, Age: l.Age, Leases: l.Leases, Load: l.Load, Speed: l.Speed}
		for h, id := range l.HeavyIDs {
			reports[i].Heavy = append(reports[i].Heavy, lease.Load{ID: id, Load: float64(l.HeavyLoads[h])})
		}
	}
	return reports
}

func (e *engine) balanceVersion() float64 {
	if keeper := e.keeper.Load(); keeper != nil {
		return float64(keeper.Status().Weights)
	}
	return 0
}
