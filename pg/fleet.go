package pg

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// errorShown is how much of each instance's last error [Fleet] returns: a list shows no more.
const errorShown = 160

// Fleet returns every instance, at most limit of them and then the worst, in no order. Holder is empty: [Holders] tells it.
func Fleet(ctx context.Context, q Querier, limit int) ([]InstanceStatus, error) {
	rows, err := q.Query(ctx, `
		select domain, state, ids_behind, extract(epoch from lag)::float8, fail_count, coalesce(left(last_error, $2), ''),
			coalesce(last_http_status, 0), next_retry_at, last_success_at, dead_letters, redeliveries, cursor_id, instance_id
		from fedsender.instance_status
		order by case when (select count(*) from fedsender.source_instance) > $1 then state = 'ok' end
		limit $1`, limit, errorShown)
	return collect("read the status of all instances", rows, err, func(row pgx.CollectableRow) (s InstanceStatus, err error) {
		var retry, success *time.Time
		var lag *float64
		err = row.Scan(&s.Domain, &s.State, &s.IDsBehind, &lag, &s.FailCount, &s.LastError, &s.LastHTTPStatus,
			&retry, &success, &s.DeadLetters, &s.Redeliveries, &s.CursorID, &s.ID)
		s.NextRetryAt, s.LastSuccessAt = orZero(retry), orZero(success)
		if lag != nil {
			s.LagSeconds = *lag
		}
		return s, err
	})
}

// Holder is a held lease.
type Holder struct {
	InstanceID int32
	Name       string // of the process; of what holds it else, a description
	Process    string // its id; empty: it is no sender
}

// Holders returns who may deliver to which instance. It reads pg_locks: ask once a second at most.
func Holders(ctx context.Context, q Querier) ([]Holder, error) {
	rows, err := q.Query(ctx, `select instance_id, holder, coalesce(process_id, '') from fedsender.lease`)
	return collect("read who holds what", rows, err, pgx.RowToStructByPos[Holder])
}

// HolderIsDeaf says why nobody delivers to an instance although it is held: stranger, somebody who is no sender has its lease;
// silent, for how long the process that has it has said nothing, as far as the asking role can see; 0: it does not hang. It
// reads pg_locks.
func HolderIsDeaf(ctx context.Context, q Querier, instanceID int32) (stranger bool, silent time.Duration, err error) {
	var process string
	var seconds float64
	err = q.QueryRow(ctx, `
		select coalesce(process_id, ''), coalesce(extract(epoch from (select max(silent_for) from fedsender.process_status p where p.id = l.process_id)), 0)::float8
		from fedsender.lease l
		where instance_id = $1
		limit 1`, instanceID).Scan(&process, &seconds)
	if errors.Is(err, pgx.ErrNoRows) { // given up meanwhile
		return false, 0, nil
	}
	if err != nil {
		return false, 0, wrap("read who holds the instance", err)
	}
	if seconds > silentWarn.Seconds() {
		silent = time.Duration(seconds * float64(time.Second))
	}
	return process == "", silent, nil
}

// NamedProcess is a process with the id by which [Holders] names it. Leases is 0.
type NamedProcess struct {
	ProcessID string
	ProcessStatus
}

// ProcessesWithoutLeases returns the processes that live. It does not read pg_locks.
func ProcessesWithoutLeases(ctx context.Context, q Querier) ([]NamedProcess, error) {
	rows, err := q.Query(ctx, `
		select id, name, address, version, since, in_flight, delivered_per_s, load, coalesce(fair_load, 0), capacity_percent,
			coalesce(max_leases, 0), balance_version, coalesce(leaving, false), pid, coalesce(role, '?')::text,
			(extract(epoch from silent_for) * 1000)::bigint, may_end
		from fedsender.process_status
		order by name, since`)
	return collect("read the processes", rows, err, func(row pgx.CollectableRow) (p NamedProcess, err error) {
		var silent *int64 // milliseconds
		err = row.Scan(&p.ProcessID, &p.Name, &p.Address, &p.Version, &p.Since, &p.InFlight, &p.DeliveredPerS,
			&p.Load, &p.FairLoad, &p.Capacity, &p.MaxLeases, &p.Balance, &p.Leaving, &p.PID, &p.Role, &silent, &p.MayEnd)
		if silent != nil {
			seconds := float64(*silent) / 1000
			p.SilentSeconds = &seconds
		}
		return p, err
	})
}

// Queue is how far activities are.
type Queue struct {
	HighestID, Horizon int64
	DeadLetters        int64
	Redeliveries       int64 // dead letters that were retried and wait to be sent again
	Off                bool  // federation is switched off as a whole
}

// ReadQueue reads it without looking at the instances.
func ReadQueue(ctx context.Context, q Querier) (r Queue, err error) {
	err = q.QueryRow(ctx, `
		select coalesce((select max(id) from fedsender.source_activity), 0),
			coalesce((select horizon from fedsender.feed), 0),
			(select count(*) from fedsender.dead_letter),
			(select count(*) from fedsender.redelivery)`).Scan(&r.HighestID, &r.Horizon, &r.DeadLetters, &r.Redeliveries)
	if err != nil {
		return r, wrap("read the state of the queue", err)
	}
	r.Off, err = FederationOff(ctx, q)
	return r, err
}
