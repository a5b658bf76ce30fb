package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// InstanceRecord is what [InstanceStatus] leaves out. Times that are unknown are zero.
type InstanceRecord struct {
	InstanceDetail
	SharedInbox string
	CreatedAt   time.Time
	LastSeenAt  time.Time
	LastRetryAt time.Time // the last failed round
	GoneCount   int       // answers that the shared inbox is gone, within a day
	AheadID     int64     // what is settled beyond the cursor, but for Held
	Held        int
}

// ReadInstanceRecord reads it of one instance; without such an instance it returns pgx.ErrNoRows.
func ReadInstanceRecord(ctx context.Context, q Querier, id int32) (r InstanceRecord, err error) {
	if r.InstanceDetail, err = ReadInstanceDetail(ctx, q, id); err != nil {
		return r, err
	}
	var seen, retry *time.Time
	err = q.QueryRow(ctx, `
		select coalesce(i.shared_inbox, ''), `+near("i.created_at")+`, `+near("i.last_seen_at")+`, `+near("q.last_retry_at")+`,
			coalesce(cardinality(q.gone_at), 0), coalesce(q.ahead_id, 0), coalesce(jsonb_array_length(q.held), 0)
		from fedsender.source_instance i
		left join fedsender.source_queue_state q on q.instance_id = i.id
		where i.id = $1`, id).Scan(&r.SharedInbox, &r.CreatedAt, &seen, &retry, &r.GoneCount, &r.AheadID, &r.Held)
	r.LastSeenAt, r.LastRetryAt = orZero(seen), orZero(retry)
	return r, wrap("read the instance", err)
}

// InstanceStatusOf returns one instance without its holder; without such an instance it returns pgx.ErrNoRows.
func InstanceStatusOf(ctx context.Context, q Querier, domain string) (InstanceStatus, error) {
	found, err := InstanceStatuses(ctx, q, InstanceStatusFilter{Domain: domain, Limit: 1, NoHolder: true})
	if err == nil && len(found) == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return InstanceStatus{}, err
	}
	return found[0], nil
}

// Waiting is what an instance has not got yet, as far as it was looked for.
type Waiting struct {
	First    []WaitingActivity // the oldest
	Count    int64             // of those among the ids that were looked at
	Looked   int64             // how many ids were looked at, from the cursor on
	ToTheEnd bool              // no id is left that was not looked at
}

// WaitingActivity is one that an instance has not got yet.
type WaitingActivity struct {
	ID          int64
	APID        string
	PublishedAt time.Time
	Tried       bool // it was sent and is to be sent again
}

// ReadWaiting looks at up to `look` activities after the id and returns which of them are for the instance, the first `show`
// by name. It asks who follows now, as [TraceActivity] does. Activities beyond the cursor that are settled are left out, if
// after is the cursor.
func ReadWaiting(ctx context.Context, q Querier, instance int32, after int64, look, show int) (w Waiting, err error) {
	rows, err := q.Query(ctx, `
		with followed as materialized (
			select distinct actor_id from fedsender.source_follower where instance_id = $1
		), seen as materialized (
			select a.id, a.ap_id, `+near("a.published_at")+` as published_at, a.send_inboxes, a.send_followers_of, a.send_all_instances
			from fedsender.source_activity a
			where a.id > $2
			order by a.id
			limit $3
		), here as (
			select i.domain, i.shared_inbox, coalesce(q.last_successful_id, 0) as cursor_id, coalesce(q.ahead_id, 0) as ahead_id, coalesce(q.held, '[]') as held
			from fedsender.source_instance i
			left join fedsender.source_queue_state q on q.instance_id = i.id
			where i.id = $1
		), meant as materialized (
			select s.id, s.ap_id, s.published_at, s.id <= h.ahead_id as tried
			from seen s
			cross join here h
			where (s.send_all_instances and h.shared_inbox is not null
					or exists (select from followed f where f.actor_id = any (s.send_followers_of))
					or exists (select from unnest(s.send_inboxes) as u where `+inboxDomain+` = h.domain))
				and (s.id > h.ahead_id or s.id <= h.cursor_id
					or exists (select from jsonb_array_elements(h.held) as e where (e ->> 'id')::bigint = s.id))
		)
		select (select count(*) from meant), (select count(*) from seen), m.id, coalesce(m.ap_id, ''), m.published_at, coalesce(m.tried, false)
		from (select) as one
		left join (select * from meant order by id limit $4) m on true
		order by m.id`, instance, after, look, show)
	if err != nil {
		return w, wrap("read what waits", err)
	}
	var id *int64
	var at *time.Time
	var next WaitingActivity
	_, err = pgx.ForEachRow(rows, []any{&w.Count, &w.Looked, &id, &next.APID, &at, &next.Tried}, func() error {
		if id != nil {
			next.ID, next.PublishedAt = *id, orZero(at)
			w.First = append(w.First, next)
		}
		return nil
	})
	w.ToTheEnd = w.Looked < int64(look)
	return w, wrap("read what waits", err)
}

// ReplayFrom is about the id after which an instance would begin if it were sent again what was published since then: exactly
// that where later ids were published later. fedsender.replay looks at every row, which takes seconds where there are millions.
func ReplayFrom(ctx context.Context, q Querier, cursor int64, since time.Time) (int64, error) {
	var from int64
	err := q.QueryRow(ctx, `
		with recursive search (low, high) as (
			select coalesce((select min(id) from fedsender.source_activity), $1::bigint + 1), $1::bigint + 1
			union all
			select case when m.later then s.low else m.id + 1 end, case when m.later then m.id else s.high end
			from search s
			cross join lateral (
				select (s.low + s.high) / 2 as id, coalesce((
					select a.published_at from fedsender.source_activity a where a.id >= (s.low + s.high) / 2 order by a.id limit 1) >= $2, true) as later
			) m
			where s.low < s.high
		)
		select least($1::bigint, min(low) - 1) from search where low >= high`, cursor, since).Scan(&from)
	return from, wrap("find where a replay would begin", err)
}

// LimitInFlight bounds the deliveries to one instance at a time, from 1 to 1000; 0 leaves it to the process.
func LimitInFlight(ctx context.Context, q Querier, domain string, most int) error {
	_, err := q.Exec(ctx, `
		insert into fedsender.instance_control (instance_id, max_in_flight)
		values (fedsender.instance_named($1::text), nullif($2::integer, 0))
		on conflict (instance_id) do update set max_in_flight = excluded.max_in_flight`, domain, most)
	return wrap("limit "+domain, err)
}
