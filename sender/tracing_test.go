package sender

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

// Whoever has no traces pays nothing for them.
func TestTracing_OffAllocatesNothing(t *testing.T) {
	var off *tracing
	row, d := &pg.Activity{ID: 1, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, worker.Delivery{Activity: &worker.Activity{ID: 1}}
	ctx, now := t.Context(), time.Now()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		reading := off.reading()
		reading.end()
		reading.found(1, 1, off.now())
		r := off.activity(reading.within(ctx), row)
		span := off.delivery(ctx, r, nil, 1, &d, now)
		if span.phases() != nil || span.traceID() != "" {
			t.Error("there is a trace")
		}
		span.end(1, deliver.Outcome{})
		off.saved(ctx, nil, now)
	}))
}
