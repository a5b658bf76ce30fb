package page

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/fedsender/fedsender/admin/access"
	"github.com/fedsender/fedsender/pg"
)

const (
	// historyAge is how long all viewers share one read of the minutes.
	historyAge = 15 * time.Second
	// historyShown is what the charts and the table show.
	historyShown = 6 * time.Hour
)

// history are the minutes that all processes wrote, or why they are not there.
type history struct {
	minutes []pg.HistoryMinute
	problem string
}

func (p *Page) history(ctx context.Context) (history, error) {
	return p.minutes.get(ctx, nil, func(ctx context.Context, last *history) history {
		next := history{}
		err := p.reading(ctx, func(ctx context.Context, q pg.Querier) (err error) {
			next.minutes, err = pg.History(ctx, q, historyShown)
			return err
		})
		if err != nil {
			if last != nil {
				next.minutes = last.minutes
			}
			next.problem = p.problem("What became of deliveries", err)
		}
		return next
	})
}

// series are columns of the charts; all have a value for each minute.
type series struct {
	Minutes   []int64   `json:"minutes"` // Unix seconds
	Delivered []float64 `json:"delivered"`
	Failed    []float64 `json:"failed"`
	PutOff    []float64 `json:"put_off"`
	Final     []float64 `json:"final"` // refused, gone, unusable
	Lag       []float64 `json:"lag"`
}

// seriesOf has a row for each full minute, also for those in which nothing was delivered: deliveries a second, and seconds
// of lag.
func seriesOf(minutes []pg.HistoryMinute, now time.Time) series {
	end := now.Truncate(time.Minute)
	start := end.Add(-historyShown)
	n := int(historyShown / time.Minute)
	s := series{make([]int64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)}
	for i := range n {
		s.Minutes[i] = start.Add(time.Duration(i) * time.Minute).Unix()
	}
	for _, m := range minutes {
		i := int(m.Minute.Sub(start) / time.Minute)
		if i < 0 || i >= n {
			continue
		}
		s.Delivered[i] = perSecond(m.Delivered)
		s.Failed[i] = perSecond(m.Retry + m.Unauthorized)
		s.PutOff[i] = perSecond(m.Throttled)
		s.Final[i] = perSecond(m.Refused + m.Gone + m.Unusable)
		s.Lag[i] = m.LagSeconds
	}
	return s
}

func perSecond(n int64) float64 { return float64(n) / 60 }

// hour is a row of the table that says what the charts show.
type hour struct {
	From, To                                     time.Time
	Deliveries, Delivered, Failed, PutOff, Final int64
	Lag                                          time.Duration
}

// hours sums the minutes, the newest hour first.
func hours(minutes []pg.HistoryMinute, now time.Time) []hour {
	end := now.Truncate(time.Minute).Add(time.Minute)
	all := make([]hour, int(historyShown/time.Hour))
	for i := range all {
		all[i].To = end.Add(-time.Duration(i) * time.Hour)
		all[i].From = all[i].To.Add(-time.Hour)
	}
	for _, m := range minutes {
		i := int(end.Sub(m.Minute)-1) / int(time.Hour)
		if i < 0 || i >= len(all) {
			continue
		}
		h := &all[i]
		failed, final := m.Retry+m.Unauthorized, m.Refused+m.Gone+m.Unusable
		h.Delivered += m.Delivered
		h.Failed += failed
		h.PutOff += m.Throttled
		h.Final += final
		h.Deliveries += m.Delivered + failed + m.Throttled + final
		h.Lag = max(h.Lag, seconds(m.LagSeconds))
	}
	return all
}

func (p *Page) serveHistory(w http.ResponseWriter, r *http.Request, _ access.Who) {
	read, err := p.history(r.Context())
	if err != nil {
		http.Error(w, "the database did not answer in time", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(seriesOf(read.minutes, time.Now())) // a browser that has gone is no error of ours
}
