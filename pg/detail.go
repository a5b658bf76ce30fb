package pg

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// InstanceDetail is what else is known of one instance's state. Times that are unknown, or infinite, are zero.
type InstanceDetail struct {
	PausedUntil time.Time `json:"paused_until,omitzero"` // zero while it is paused: until it is resumed
	Note        string    `json:"note,omitempty"`        // of instance_control
	MaxInFlight int       `json:"max_in_flight,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"` // it asked to wait until then
	Throttles   int       `json:"throttles,omitempty"` // times in a row that it did
	Gone        bool      `json:"gone,omitempty"`      // its shared inbox is gone for good
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Listed      string    `json:"listed,omitempty"` // block: on the block list; allow: not on the allow list, which there is
}

// ReadInstanceDetail reads it. A role that may see the views for people alone learns nothing here, and gets no error.
func ReadInstanceDetail(ctx context.Context, q Querier, id int32) (d InstanceDetail, err error) {
	var paused, notBefore, errorAt *time.Time
	err = q.QueryRow(ctx, `
		with list as (
			select list, domain from fedsender.source_domain_list where expires_at is null or expires_at > now()
		)
		select nullif(nullif(q.paused_until, 'infinity'), '-infinity'), coalesce(c.note, ''), coalesce(c.max_in_flight, 0),
			nullif(nullif(q.not_before, 'infinity'), '-infinity'), coalesce(q.throttles, 0), coalesce(q.gone, false), q.last_error_at,
			case
				when exists (select from list where list = 'allow') then case when not exists (select from list l where l.list = 'allow' and l.domain = i.domain) then 'allow' else '' end
				when exists (select from list l where l.list = 'block' and l.domain = i.domain) then 'block'
				else ''
			end
		from fedsender.source_instance i
		left join fedsender.source_queue_state q on q.instance_id = i.id
		left join fedsender.instance_control c on c.instance_id = i.id
		where i.id = $1::int`, id).Scan(&paused, &d.Note, &d.MaxInFlight, &notBefore, &d.Throttles, &d.Gone, &errorAt, &d.Listed)
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == insufficientPrivilege {
		return InstanceDetail{}, nil
	}
	d.PausedUntil, d.NotBefore, d.LastErrorAt = orZero(paused), orZero(notBefore), orZero(errorAt)
	return d, wrap("read what is known of the instance", err)
}

// DomainsLike returns the first domains of instances that begin so, in their order.
func DomainsLike(ctx context.Context, q Querier, begun string, most int) ([]string, error) {
	rows, err := q.Query(ctx, `
		select domain
		from fedsender.source_instance
		where starts_with(domain, lower($1::text))
		order by domain
		limit $2::bigint`, begun, most)
	return collect("read domains", rows, err, pgx.RowTo[string])
}
