package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Outcomes counts deliveries by what became of them, as the columns of fedsender.history do.
type Outcomes struct {
	Delivered    int64 `json:"delivered"`
	Refused      int64 `json:"refused"`
	Retry        int64 `json:"retry"`
	Unauthorized int64 `json:"unauthorized"`
	Throttled    int64 `json:"throttled"`
	Gone         int64 `json:"gone"`
	Unusable     int64 `json:"unusable"`
}

// HistoryMinute is a row of fedsender.history.
type HistoryMinute struct {
	Minute time.Time `json:"minute"`
	Outcomes
	LagSeconds float64 `json:"lag_seconds"`
}

// historyKept is how long the minutes are kept.
const historyKept = 48 * time.Hour

// AddHistory adds what became of deliveries to the minute that it is, and deletes minutes that are old.
func AddHistory(ctx context.Context, q Querier, o Outcomes, lag time.Duration) error {
	_, err := q.Exec(ctx, `
		with old as (
			delete from fedsender.history where minute < now() - make_interval(secs => $9)
		)
		insert into fedsender.history as h (minute, delivered, refused, retry, unauthorized, throttled, gone, unusable, lag_seconds)
		values (date_trunc('minute', now()), $1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (minute) do update
		set delivered = h.delivered + excluded.delivered, refused = h.refused + excluded.refused, retry = h.retry + excluded.retry,
			unauthorized = h.unauthorized + excluded.unauthorized, throttled = h.throttled + excluded.throttled,
			gone = h.gone + excluded.gone, unusable = h.unusable + excluded.unusable, lag_seconds = greatest(h.lag_seconds, excluded.lag_seconds)`,
		o.Delivered, o.Refused, o.Retry, o.Unauthorized, o.Throttled, o.Gone, o.Unusable, lag.Seconds(), historyKept.Seconds())
	return wrap("write what became of deliveries", err)
}

// History returns the minutes of that long, the oldest first. A minute without a delivery has no row.
func History(ctx context.Context, q Querier, back time.Duration) ([]HistoryMinute, error) {
	rows, err := q.Query(ctx, `
		select minute, delivered, refused, retry, unauthorized, throttled, gone, unusable, lag_seconds::float8
		from fedsender.history
		where minute >= date_trunc('minute', now()) - make_interval(secs => $1)
		order by minute`, back.Seconds())
	return collect("read what became of deliveries", rows, err, func(row pgx.CollectableRow) (m HistoryMinute, err error) {
		err = row.Scan(&m.Minute, &m.Delivered, &m.Refused, &m.Retry, &m.Unauthorized, &m.Throttled, &m.Gone, &m.Unusable, &m.LagSeconds)
		return m, err
	})
}
