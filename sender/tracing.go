package sender

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

const (
	// maxTraced is how many deliveries of one activity one process traces: an activity for ten thousand instances would be
	// a trace that nothing can show.
	maxTraced = 256
	// maxSettled bounds the deliveries that wait for their cursor to be saved, settledAge how long they do.
	maxSettled = 1024
	settledAge = time.Minute
)

// tracing makes the spans of this process. A nil one makes none, and all that it gives is nil as well. Spans name
// domains and numbers: no URL, no text of an activity or of a remote server. It is safe for several goroutines.
type tracing struct {
	tracer trace.Tracer
	header bool // deliveries carry a traceparent

	mu      sync.Mutex
	settled []settled
}

// settled is a delivery that the database does not have in a cursor yet.
type settled struct {
	instanceID int32
	delivery   trace.SpanContext
	at         time.Time
}

// route is what there is to know of an activity's trace for those who deliver it.
type route struct {
	activity trace.SpanContext
	ready    time.Time // to be delivered
	left     atomic.Int32
}

func newTracing(config Config) *tracing {
	if config.TracerProvider == nil {
		return nil
	}
	return &tracing{
		tracer: config.TracerProvider.Tracer("github.com/fedsender/fedsender/sender", trace.WithInstrumentationVersion(config.Version)),
		header: config.SendTraceparent,
	}
}

func (t *tracing) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

// span makes one whose end is known.
func (t *tracing) span(ctx context.Context, name string, began, ended time.Time, attributes ...attribute.KeyValue) {
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(ended))
}

// activity makes the span of an activity that was read: below that of the application, where its row names one. It
// returns nil where the trace is not kept.
func (t *tracing) activity(ctx context.Context, row *pg.Activity) *route {
	if t == nil {
		return nil
	}
	ready := time.Now()
	reading, _ := ctx.Value(readingKey{}).(*reading)
	began := ready
	if reading != nil {
		began = reading.began
	}
	parent := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": row.Traceparent})
	ctx, span := t.tracer.Start(parent, "activity", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.Int64("fedsender.activity.id", row.ID)))
	defer span.End()
	if !span.SpanContext().IsSampled() {
		return nil
	}
	if reading != nil {
		t.span(ctx, "read", reading.began, reading.ended)
		if found, ok := reading.rows[row.ID]; ok {
			span.SetAttributes(attribute.Int("fedsender.instances", found.instances))
			t.span(ctx, "targets", found.began, found.ended, attribute.Int("fedsender.instances", found.instances))
		}
	}
	r := &route{activity: span.SpanContext(), ready: ready}
	r.left.Store(maxTraced)
	return r
}

// reading is one read of the feed, with what was found for its activities.
type reading struct {
	began, ended time.Time
	rows         map[int64]foundRow
}

type foundRow struct {
	instances    int // that are held here
	began, ended time.Time
}

type readingKey struct{}

func (t *tracing) reading() *reading {
	if t == nil {
		return nil
	}
	return &reading{began: time.Now(), rows: map[int64]foundRow{}}
}

func (r *reading) end() {
	if r != nil {
		r.ended = time.Now()
	}
}

func (r *reading) found(activityID int64, instances int, began time.Time) {
	if r != nil && instances > 0 {
		r.rows[activityID] = foundRow{instances, began, time.Now()}
	}
}

// within lets [tracing.activity] know what was read before.
func (r *reading) within(ctx context.Context) context.Context {
	if r == nil {
		return ctx
	}
	return context.WithValue(ctx, readingKey{}, r)
}

// deliverySpan is one delivery with its POST. It belongs to one goroutine. A nil one does nothing.
type deliverySpan struct {
	tracing        *tracing
	ctx            context.Context // of post
	delivery, post trace.Span
}

// delivery makes the span of a delivery that began. The first try has waited since the activity was ready.
func (t *tracing) delivery(ctx context.Context, r *route, index *targets.Index, instanceID int32, d *worker.Delivery, started time.Time) *deliverySpan {
	if t == nil || r == nil || r.left.Add(-1) < 0 {
		return nil
	}
	began := started
	if d.Attempt == 1 && !d.Redelivery {
		began = r.ready
	}
	instance, _ := index.Instance(instanceID)
	domain := attribute.String("server.address", instance.Domain)
	ctx = trace.ContextWithSpanContext(ctx, r.activity)
	ctx, delivery := t.tracer.Start(ctx, "delivery", trace.WithTimestamp(began), trace.WithAttributes(domain,
		attribute.Int64("fedsender.activity.id", d.Activity.ID), attribute.Int("fedsender.attempt", d.Attempt)))
	if began != started {
		t.span(ctx, "wait", began, started)
	}
	ctx, post := t.tracer.Start(ctx, "POST", trace.WithTimestamp(started), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(domain, attribute.String("http.request.method", "POST")))
	return &deliverySpan{t, ctx, delivery, post}
}

// phases has the connection and the signature be spans of their own.
func (s *deliverySpan) phases() *deliver.Trace {
	if s == nil {
		return nil
	}
	phase := func(name string) func(time.Time, error) {
		return func(began time.Time, err error) {
			_, span := s.tracing.tracer.Start(s.ctx, name, trace.WithTimestamp(began))
			if err != nil {
				span.SetStatus(codes.Error, "") // the text may be the remote server's
			}
			span.End()
		}
	}
	phases := &deliver.Trace{Connected: phase("connect"), Signed: phase("sign")}
	if s.tracing.header {
		header := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(s.ctx, header)
		phases.Traceparent = header["traceparent"]
	}
	return phases
}

func (s *deliverySpan) end(instanceID int32, o deliver.Outcome) {
	if s == nil {
		return
	}
	if o.Status != 0 {
		s.post.SetAttributes(attribute.Int("http.response.status_code", o.Status))
	}
	s.delivery.SetAttributes(attribute.String("fedsender.outcome", o.Class.String()))
	if o.Class != deliver.Delivered {
		for _, span := range []trace.Span{s.post, s.delivery} {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(attribute.String("error.type", o.Class.String()))
		}
	}
	s.post.End()
	s.delivery.End()
	switch o.Class {
	case deliver.Delivered, deliver.Refused, deliver.Unusable:
		s.tracing.settle(settled{instanceID, s.delivery.SpanContext(), time.Now()})
	}
}

// traceID is that of the trace, as exemplars have it.
func (s *deliverySpan) traceID() string {
	if s == nil {
		return ""
	}
	return s.delivery.SpanContext().TraceID().String()
}

func (t *tracing) settle(s settled) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.settled) < maxSettled {
		t.settled = append(t.settled, s)
	}
}

// saved makes the spans of cursors that were saved, as they were taken then: from the outcome to the database.
func (t *tracing) saved(ctx context.Context, slots []*slot, taken time.Time) {
	if t == nil {
		return
	}
	ids := make([]int32, len(slots))
	for i, s := range slots {
		ids[i] = s.id
	}
	slices.Sort(ids)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled = slices.DeleteFunc(t.settled, func(s settled) bool {
		if _, saved := slices.BinarySearch(ids, s.instanceID); !saved || s.at.After(taken) {
			return now.Sub(s.at) > settledAge
		}
		t.span(trace.ContextWithSpanContext(ctx, s.delivery), "cursor", s.at, now)
		return true
	})
}
