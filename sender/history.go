package sender

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

const (
	// historyEvery keeps the charts of the page fresh and costs one statement.
	historyEvery = 10 * time.Second
	// historyLag is from when on a lag is worth a statement although nothing was delivered.
	historyLag = 2 * time.Second
)

// outcomes counts what became of deliveries, by class.
type outcomes [worker.Canceled + 1]atomic.Int64

func (o *outcomes) count(class worker.Class) {
	if int(class) < len(o) {
		o[class].Add(1)
	}
}

func (o *outcomes) read() (n [worker.Canceled + 1]int64) {
	for i := range o {
		n[i] = o[i].Load()
	}
	return n
}

// runHistory writes what became of deliveries, for the charts of the page.
func (e *engine) runHistory(ctx context.Context) {
	every(ctx, historyEvery, func() {
		if err := e.writeHistory(ctx); err != nil {
			e.troubled(ctx, "could not write what became of deliveries; trying again", err)
		}
	})
}

// writeHistory is not safe for several goroutines.
func (e *engine) writeHistory(ctx context.Context) error {
	at, lag := e.outcomes.read(), e.census().lag
	since := func(class worker.Class) int64 { return at[class] - e.written[class] }
	fresh := pg.Outcomes{
		Delivered: since(worker.Delivered), Refused: since(worker.Refused), Retry: since(worker.Retry), Unauthorized: since(worker.Unauthorized),
		Throttled: since(worker.Throttled), Gone: since(worker.Gone), Unusable: since(worker.Unusable),
	}
	if fresh == (pg.Outcomes{}) && lag < historyLag {
		return nil
	}
	if err := pg.AddHistory(ctx, e.pool, fresh, lag); err != nil {
		return err
	}
	e.written = at
	return nil
}
