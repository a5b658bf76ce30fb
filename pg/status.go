package pg

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// InstanceStatus is a row of fedsender.instance_status, whose column comments say what each field means. Times that
// are unknown are zero.
type InstanceStatus struct {
	Domain         string    `json:"domain"`
	State          string    `json:"state"` // ok, lagging, failing, paused, dead or blocked
	IDsBehind      int64     `json:"ids_behind"`
	LagSeconds     float64   `json:"lag_seconds"`
	FailCount      int       `json:"fail_count"`
	LastError      string    `json:"last_error,omitempty"`
	LastHTTPStatus int       `json:"last_http_status,omitempty"`
	NextRetryAt    time.Time `json:"next_retry_at,omitzero"`
	LastSuccessAt  time.Time `json:"last_success_at,omitzero"`
	Holder         string    `json:"holder,omitempty"`
	DeadLetters    int64     `json:"dead_letters"`
	Redeliveries   int64     `json:"redeliveries"`
	CursorID       int64     `json:"cursor_id"`
	ID             int32     `json:"instance_id"`
}

// Throttled is how much of the pause is left that an instance which does not fail asked for (429, or 503 with Retry-After);
// 0: none.
func (s *InstanceStatus) Throttled(now time.Time) time.Duration {
	return throttled(s.State, s.NextRetryAt, now)
}

// throttled: an instance that is ok or lagging is told to be tried again for no other reason.
func throttled(state string, nextRetryAt, now time.Time) time.Duration {
	if state != "ok" && state != "lagging" || nextRetryAt.IsZero() {
		return 0
	}
	return max(0, nextRetryAt.Sub(now))
}

// troubleOrder puts first what a person should look at first.
const troubleOrder = `array_position(array['failing', 'lagging', 'dead', 'paused', 'blocked', 'ok'], state), ids_behind desc, domain`

// InstanceStatusFilter chooses instances.
type InstanceStatusFilter struct {
	Domain  string // empty: all
	Trouble bool   // only those that are not ok
	Limit   int    // 0: no limit
	// NoHolder leaves Holder empty, which spares the database a read of pg_locks.
	NoHolder bool
}

// InstanceStatuses returns the chosen instances, the worst first. It reads pg_locks, unless f says otherwise: ask once a
// second at most.
func InstanceStatuses(ctx context.Context, q Querier, f InstanceStatusFilter) ([]InstanceStatus, error) {
	holder := `coalesce(holder, '')`
	if f.NoHolder {
		holder = `''`
	}
	rows, err := q.Query(ctx, `
		select domain, state, ids_behind, extract(epoch from lag)::float8, fail_count, coalesce(last_error, ''),
			coalesce(last_http_status, 0), next_retry_at, last_success_at, `+holder+`, dead_letters, redeliveries, cursor_id, instance_id
		from fedsender.instance_status
		where ($1::text = '' or domain = lower($1::text))
			and (not $2::boolean or state <> 'ok')
		order by `+troubleOrder+`
		limit nullif($3::bigint, 0)`, f.Domain, f.Trouble, f.Limit)
	return collect("read the status of the instances", rows, err, func(row pgx.CollectableRow) (s InstanceStatus, err error) {
		var retry, success *time.Time
		err = row.Scan(&s.Domain, &s.State, &s.IDsBehind, &s.LagSeconds, &s.FailCount, &s.LastError, &s.LastHTTPStatus,
			&retry, &success, &s.Holder, &s.DeadLetters, &s.Redeliveries, &s.CursorID, &s.ID)
		s.NextRetryAt, s.LastSuccessAt = orZero(retry), orZero(success)
		return s, err
	})
}

// QueueSummary is the row of fedsender.queue_summary.
type QueueSummary struct {
	Instances        int64   `json:"instances"`
	OK               int64   `json:"ok"`
	Lagging          int64   `json:"lagging"`
	Failing          int64   `json:"failing"`
	Paused           int64   `json:"paused"`
	Dead             int64   `json:"dead"`
	Blocked          int64   `json:"blocked"`
	Activities       int64   `json:"activities"`
	HighestID        int64   `json:"highest_id"`
	Horizon          int64   `json:"horizon"`
	IDsBehind        int64   `json:"ids_behind"`
	OldestLagSeconds float64 `json:"oldest_lag_seconds"`
	DeadLetters      int64   `json:"dead_letters"`
	Redeliveries     int64   `json:"redeliveries"`
	Processes        int64   `json:"processes"`
	Throttled        int64   `json:"throttled"`
}

// Summary reads the whole queue in one row.
func Summary(ctx context.Context, q Querier) (s QueueSummary, err error) {
	err = q.QueryRow(ctx, `
		select instances, ok, lagging, failing, paused, dead, blocked, activities, highest_id, horizon, ids_behind,
			extract(epoch from oldest_lag)::float8, dead_letters, redeliveries, processes, throttled
		from fedsender.queue_summary`).Scan(&s.Instances, &s.OK, &s.Lagging, &s.Failing, &s.Paused, &s.Dead, &s.Blocked,
		&s.Activities, &s.HighestID, &s.Horizon, &s.IDsBehind, &s.OldestLagSeconds, &s.DeadLetters, &s.Redeliveries, &s.Processes, &s.Throttled)
	return s, wrap("read the summary of the queue", err)
}

// ProcessStatus is a row of fedsender.process_status.
type ProcessStatus struct {
	Name          string    `json:"name"`
	Address       string    `json:"address,omitempty"`
	Version       string    `json:"version"`
	Since         time.Time `json:"since"`
	Leases        int       `json:"leases"`
	InFlight      int       `json:"in_flight"`
	DeliveredPerS float64   `json:"delivered_per_s"`
	Load          float64   `json:"load"`
	FairLoad      float64   `json:"fair_load"`
	Capacity      int       `json:"capacity_percent"`
	MaxLeases     int       `json:"max_leases,omitempty"` // 0: no limit
	Balance       int64     `json:"balance_version"`
	Leaving       bool      `json:"leaving,omitempty"`
	PID           int32     `json:"pid"` // of the server's process of its lease session
	Role          string    `json:"role"`
	SilentSeconds *float64  `json:"silent_seconds,omitempty"` // nil: hidden from the asking role
	MayEnd        bool      `json:"may_end"`                  // the asking role may end that session
}

// Hangs tells that nothing is sent any more for the instances that the process holds, as far as the asking role can see.
func (p *ProcessStatus) Hangs() bool {
	return p.SilentSeconds != nil && *p.SilentSeconds > silentWarn.Seconds()
}

// EndedByOthers tells that the process is silent for less than the others wait before they end its session.
func (p *ProcessStatus) EndedByOthers() bool {
	return p.SilentSeconds == nil || *p.SilentSeconds < silentBad.Seconds()
}

// Processes returns the sender processes that live. It reads pg_locks.
func Processes(ctx context.Context, q Querier) ([]ProcessStatus, error) {
	rows, err := q.Query(ctx, `
		select name, address, version, since, leases, in_flight, delivered_per_s, load, fair_load, capacity_percent,
			coalesce(max_leases, 0), balance_version, leaving, pid, coalesce(role, '?')::text,
			(extract(epoch from silent_for) * 1000)::bigint, may_end
		from fedsender.process_status
		order by name, since`)
	return collect("read the processes", rows, err, func(row pgx.CollectableRow) (p ProcessStatus, err error) {
		var silent *int64 // milliseconds
		err = row.Scan(&p.Name, &p.Address, &p.Version, &p.Since, &p.Leases, &p.InFlight, &p.DeliveredPerS,
			&p.Load, &p.FairLoad, &p.Capacity, &p.MaxLeases, &p.Balance, &p.Leaving, &p.PID, &p.Role, &silent, &p.MayEnd)
		if silent != nil {
			seconds := float64(*silent) / 1000
			p.SilentSeconds = &seconds
		}
		return p, err
	})
}

// Trace is where one activity stands.
type Trace struct {
	ID          int64     `json:"activity_id"`
	APID        string    `json:"ap_id"`
	Actor       string    `json:"actor"`
	PublishedAt time.Time `json:"published_at"`
	BodyBytes   int       `json:"body_bytes"`
	// Horizon tells whether the feed has come by it: until then nobody gets it.
	Horizon int64         `json:"horizon"`
	Targets []TraceTarget `json:"targets"`
	// Unknown are inboxes whose domain is no instance, or that are no URL.
	Unknown     []string     `json:"unknown_inboxes,omitempty"`
	DeadLetters []DeadLetter `json:"dead_letters,omitempty"`
}

// TraceTarget is one instance that should have the activity.
type TraceTarget struct {
	Domain      string    `json:"domain"`
	Settled     bool      `json:"settled"`
	State       string    `json:"state"`
	IDsBefore   int64     `json:"ids_before"` // between the cursor and the activity
	FailCount   int       `json:"fail_count,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	Holder      string    `json:"holder,omitempty"`
	AgainSince  time.Time `json:"again_since,omitzero"` // since when it waits to be sent again, as a dead letter that was retried
}

// Throttled is as [InstanceStatus.Throttled].
func (t *TraceTarget) Throttled(now time.Time) time.Duration {
	return throttled(t.State, t.NextRetryAt, now)
}

// inboxDomain is the domain of an inbox u as instances are named: lower case, without the scheme's own port.
const inboxDomain = `regexp_replace(lower(substring(u from '^https?://(?:[^/?#@]*@)?([^/?#]+)')),
	case when lower(u) like 'https:%' then ':443$' else ':80$' end, '')`

// withoutUser is an inbox u without the user and password that it may name: to whoever wrote them there they are a secret.
// What stands before the host's last @ is taken for them; where no host can be told from them, all up to the last @ of all.
const withoutUser = `regexp_replace(regexp_replace(u, '^([^/?#]*//)?[^/?#]*@', '\1'), '^([^/?#]*//)(?![^/?#:]*(:[0-9]*)?([/?#]|$)).*@', '\1…@')`

// TraceActivity finds out whom the activity with this ap_id is for and who has it. It asks who follows now, which may
// not be who followed when the activity was made. Without such an activity it returns pgx.ErrNoRows.
func TraceActivity(ctx context.Context, q Querier, apID string) (Trace, error) {
	t := Trace{APID: apID}
	err := q.QueryRow(ctx, `
		select v.id, coalesce(a.ap_id, ''), `+near("v.published_at")+`, octet_length(v.body), (select horizon from fedsender.feed)
		from fedsender.source_activity v
		left join fedsender.source_actor a on a.id = v.actor_id
		where v.ap_id = $1::text`, apID).Scan(&t.ID, &t.Actor, &t.PublishedAt, &t.BodyBytes, &t.Horizon)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, err
	}
	if err != nil {
		return t, wrap("read the activity", err)
	}
	if t.Targets, err = traceTargets(ctx, q, t.ID); err != nil {
		return t, err
	}
	if t.Unknown, err = unknownInboxes(ctx, q, t.ID); err != nil {
		return t, err
	}
	t.DeadLetters, err = DeadLetters(ctx, q, DeadLetterFilter{ActivityID: t.ID})
	return t, err
}

func traceTargets(ctx context.Context, q Querier, id int64) ([]TraceTarget, error) {
	rows, err := q.Query(ctx, `
		with activity as materialized (
			select id, send_inboxes, send_followers_of, send_all_instances from fedsender.source_activity where id = $1::bigint
		), target as (
			select i.id
			from activity a
			join fedsender.source_instance i on a.send_all_instances and i.shared_inbox is not null
			union
			select f.instance_id
			from activity a
			join fedsender.source_follower f on f.actor_id = any (a.send_followers_of)
			union
			select i.id
			from activity a
			cross join unnest(a.send_inboxes) as u
			join fedsender.source_instance i on i.domain = `+inboxDomain+`
			union
			select r.instance_id from fedsender.redelivery r where r.activity_id = $1::bigint
		)
		select s.domain,
			coalesce($1::bigint <= q.last_successful_id
				or $1::bigint <= q.ahead_id and not exists (
					select from jsonb_array_elements(q.held) as h where (h ->> 'id')::bigint = $1::bigint), false) and e.since is null as settled,
			s.state, greatest($1::bigint - q.last_successful_id - 1, 0), s.fail_count, coalesce(s.last_error, ''), s.next_retry_at, coalesce(s.holder, ''),
			`+near("e.since")+`
		from target t
		join fedsender.instance_status s on s.instance_id = t.id
		left join fedsender.source_queue_state q on q.instance_id = t.id
		cross join lateral (
			select min(r.requested_at) as since from fedsender.redelivery r where r.activity_id = $1::bigint and r.instance_id = t.id
		) e
		order by settled, `+troubleOrder, id)
	return collect("find whom the activity is for", rows, err, func(row pgx.CollectableRow) (t TraceTarget, err error) {
		var retry, again *time.Time
		err = row.Scan(&t.Domain, &t.Settled, &t.State, &t.IDsBefore, &t.FailCount, &t.LastError, &retry, &t.Holder, &again)
		t.NextRetryAt, t.AgainSince = orZero(retry), orZero(again)
		return t, err
	})
}

func unknownInboxes(ctx context.Context, q Querier, id int64) ([]string, error) {
	rows, err := q.Query(ctx, `
		select `+withoutUser+`
		from fedsender.source_activity a
		cross join unnest(a.send_inboxes) as u
		where a.id = $1::bigint
			and not exists (select from fedsender.source_instance i where i.domain = `+inboxDomain+`)
		order by 1`, id)
	return collect("find inboxes of unknown servers", rows, err, pgx.RowTo[string])
}
