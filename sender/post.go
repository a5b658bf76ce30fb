package sender

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/fedsender/fedsender/worker"
)

// post makes one delivery under the lease: the gate of ctx lets no byte of it leave once the lease does not hold.
func (e *engine) post(ctx context.Context, s *slot, d worker.Delivery) worker.Outcome {
	p, key, err := e.document(ctx, d.Activity.ID)
	if err != nil {
		return e.undocumented(ctx, err)
	}
	started := time.Now()
	span := e.tracing.delivery(ctx, p.route, e.index, s.id, &d, started)
	o := e.client.PostTraced(ctx, d.Inbox.URL, p.document, key.key, span.phases())
	took := time.Since(started)
	span.end(s.id, o)
	outcome := worker.Outcome{Class: worker.Class(o.Class), Status: o.Status, RetryAfter: o.RetryAfter, Reason: o.Reason}
	e.metrics.Delivery(o.Class.String(), took, span.traceID())
	e.outcomes.count(outcome.Class)
	if outcome.Class == worker.Delivered {
		e.delivered.Add(1)
		e.metrics.CommitToDelivery(time.Since(d.Activity.PublishedAt), span.traceID())
	} else if e.log.Enabled(ctx, slog.LevelDebug) {
		e.log.Debug("delivery", "instance", e.domains([]int32{s.id}, 1), "activity", d.Activity.ID,
			"attempt", d.Attempt, "outcome", o.Class.String(), "status", o.Status, "reason", o.Reason)
	}
	return outcome
}

// undocumented is the outcome of a delivery whose activity could not be read. A database that does not answer is no
// fault of the receiver: the delivery waits a little and comes again.
func (e *engine) undocumented(ctx context.Context, err error) worker.Outcome {
	var unpreparable errUnpreparable
	switch {
	case errors.Is(err, errGone), errors.As(err, &unpreparable):
		return worker.Outcome{Class: worker.Unusable, Reason: err.Error()}
	case ctx.Err() == nil:
		e.troubled(ctx, "could not read an activity again; trying again", err)
		pause(ctx, time.Second)
	}
	return worker.Outcome{Class: worker.Canceled}
}
