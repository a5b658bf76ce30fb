package sender

import (
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/deliver"
)

// watch adds what is asked at each scrape.
func (e *engine) watch() {
	e.metrics.Watch(e.gauges())
	e.metrics.WatchCounts(e.counts())
	e.metrics.WatchStates(func() map[string]int { return e.census().states })
	if e.config.MetricsInstances > 0 {
		e.metrics.WatchWorst(
			func() []admin.Figure { return e.figures(e.census().late) },
			func() []admin.Figure { return e.figures(e.census().failing) })
	}
}

func (e *engine) census() census { return e.censuses.get(e.dispatcher, e.config.MetricsInstances) }

func (e *engine) gauges() admin.Gauges {
	number := func(f func(counts) int) func() float64 {
		return func() float64 { return float64(f(e.dispatcher.count())) }
	}
	looked := func(f func(census) float64) func() float64 {
		return func() float64 { return f(e.census()) }
	}
	pool := func(f func(*pgxpool.Stat) int32) func() float64 {
		return func() float64 { return float64(f(e.pool.Stat())) }
	}
	return admin.Gauges{
		Leases:                 number(func(c counts) int { return c.slots }),
		InFlight:               number(func(c counts) int { return c.inFlight }),
		InFlightLimit:          func() float64 { return float64(e.config.MaxInFlight) },
		Waiting:                looked(func(c census) float64 { return float64(c.waiting) }),
		Load:                   looked(func(c census) float64 { return c.load }),
		BalanceVersion:         e.balanceVersion,
		InstancesBehind:        number(func(c counts) int { return c.behind }),
		BackingOff:             looked(func(c census) float64 { return float64(c.backingOff) }),
		Horizon:                func() float64 { return float64(e.dispatcher.count().head) },
		FeedAgeSeconds:         func() float64 { return max(0, clock().Sub(time.Unix(0, e.lastRead.Load()))).Seconds() },
		GapSeconds:             func() float64 { return time.Duration(e.gap.Load()).Seconds() },
		LagSeconds:             looked(func(c census) float64 { return c.lag.Seconds() }),
		UnsavedSeconds:         looked(func(c census) float64 { return c.unsaved.Seconds() }),
		DeadLetters:            func() float64 { return math.Float64frombits(e.deadLetters.Load()) },
		NotificationQueueUsage: func() float64 { return math.Float64frombits(e.queueUsage.Load()) },
		CacheBytes:             func() float64 { return float64(e.documents.WeightedSize()) },
		ConnectionsIdle:        func() float64 { return float64(e.client.Connections().Idle) },
		DatabaseConnections:    pool((*pgxpool.Stat).TotalConns),
		DatabaseBusy:           pool((*pgxpool.Stat).AcquiredConns),
		DatabaseLimit:          pool((*pgxpool.Stat).MaxConns),
		Ready: func() float64 {
			if e.ready() != nil {
				return 0
			}
			return 1
		},
	}
}

func (e *engine) counts() admin.Counts {
	connections := func(f func(deliver.Connections) uint64) func() float64 {
		return func() float64 { return float64(f(e.client.Connections())) }
	}
	return admin.Counts{
		ConnectionsOpened:   connections(func(c deliver.Connections) uint64 { return c.Opened }),
		ConnectionsReused:   connections(func(c deliver.Connections) uint64 { return c.Reused }),
		DatabaseAcquires:    func() float64 { return float64(e.pool.Stat().AcquireCount()) },
		DatabaseWaitSeconds: func() float64 { return e.pool.Stat().EmptyAcquireWaitTime().Seconds() },
	}
}
