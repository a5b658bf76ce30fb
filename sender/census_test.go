package sender

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/admin"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

// crowd are slots of so many instances: of each ten one failed and waits, one has something to deliver, one is blocked.
func crowd(instances int) *dispatcher {
	now := time.Now()
	d := newDispatcher(Config{MaxInFlight: 1024, MaxInFlightPerInstance: 16}, nil, nil)
	activity := &worker.Activity{ID: 2, PublishedAt: now}
	for id := range int32(instances) {
		state := worker.State{Cursor: 1, PublishedAt: now.Add(-time.Duration(id) * time.Second)}
		if id%10 == 1 {
			state.FailCount, state.LastRetryAt = int(id), now
		}
		s := &slot{id: id, worker: worker.New(state, worker.Limits{MaxWindow: 16}, now, uint64(id))}
		switch id % 10 {
		case 1, 2:
			s.worker.Offer(worker.Job{Activity: activity, Inboxes: []worker.Inbox{{URL: fmt.Sprintf("https://i-%d.example/inbox", id)}}})
		case 3:
			s.blocked = true
		}
		d.slots[id] = s
	}
	return d
}

func TestCensus_CountsInstancesByStateAndNamesTheWorst(t *testing.T) {
	d := crowd(100)
	d.slots[5].unsavedSince = time.Now().Add(-3 * time.Second)
	c := d.census(time.Now(), 3)
	require.Equal(t, 10, c.states["failing"])
	require.Equal(t, 10, c.states["blocked"])
	require.Equal(t, 80, c.states["ok"])
	require.Contains(t, c.states, "dead", "each state is there from the start")
	require.Equal(t, 20, c.waiting)
	require.Equal(t, 10, c.backingOff)
	require.InDelta(t, 92, c.lag.Seconds(), 5, "of those that take deliveries")
	require.InDelta(t, 3, c.unsaved.Seconds(), 1)
	require.Equal(t, []int32{92, 91, 82}, ids(c.late))
	require.Equal(t, []int32{91, 81, 71}, ids(c.failing))
	require.Empty(t, d.census(time.Now(), 0).late)
}

func ids(list []standing) (ids []int32) {
	for _, s := range list {
		ids = append(ids, s.id)
	}
	return ids
}

func TestLeaders_AreTheHighest(t *testing.T) {
	l := leaders{most: 2}
	for id, value := range []float64{1, 5, 0, 3, 5, -1, 9} {
		l.add(int32(id), value)
	}
	require.Equal(t, []float64{9, 5}, []float64{l.list[0].value, l.list[1].value})
	require.Len(t, l.list, 2)
}

// What a scrape costs, and for how long it holds up deliveries.
func BenchmarkScrape(b *testing.B) {
	for _, worst := range []int{0, 20} {
		b.Run(fmt.Sprintf("instances=30000/named=%d", worst), func(b *testing.B) {
			e := &engine{dispatcher: crowd(30_000), index: targets.New(), metrics: admin.NewMetrics("here-1", "v"), config: Config{MetricsInstances: worst}}
			for id := range int32(30_000) {
				e.index.SetInstance(targets.Instance{ID: id, Domain: fmt.Sprintf("i-%d.example", id)})
			}
			g := admin.Gauges{
				LagSeconds: func() float64 { return e.census().lag.Seconds() },
				Waiting:    func() float64 { return float64(e.census().waiting) },
			}
			e.metrics.Watch(g)
			e.metrics.WatchStates(func() map[string]int { return e.census().states })
			e.metrics.WatchWorst(
				func() []admin.Figure { return e.figures(e.census().late) },
				func() []admin.Figure { return e.figures(e.census().failing) })
			var size int
			b.ReportAllocs()
			for b.Loop() {
				e.censuses.at = time.Time{}
				answer := httptest.NewRecorder()
				e.metrics.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil))
				size = answer.Body.Len()
				if !strings.Contains(answer.Body.String(), "fedsender_instances") {
					b.Fatal(answer.Body.String())
				}
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

func BenchmarkCensus(b *testing.B) {
	d := crowd(30_000)
	for b.Loop() {
		d.census(time.Now(), 20)
	}
}
