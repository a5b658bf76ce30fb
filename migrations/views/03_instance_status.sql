-- Six bits of the distance from the head are kept: a few hundred looks at activities tell the lag of any number of cursors.
create or replace function fedsender.lag_slot(distance bigint) returns integer
language sql immutable parallel safe
begin atomic
  select case
    when distance < 64 then greatest(distance, 0)::integer
    else (floor(log(distance::float8) / log(2::float8))::integer - 5) * 32 + (distance >> floor(log(distance::float8) / log(2::float8))::integer - 5)::integer
  end;
end;
comment on function fedsender.lag_slot(bigint) is 'Numbers distances in ids: one by one up to 63, then so that a slot is at most 3 % wide.';

create or replace function fedsender.lag_distance(slot integer) returns bigint
language sql immutable parallel safe
begin atomic
  select case when slot < 64 then slot::bigint else (32 + slot % 32)::bigint << (slot / 32 - 1) end;
end;
comment on function fedsender.lag_distance(integer) is 'The shortest distance of a slot.';

create or replace view fedsender.instance_status as
with head as materialized (
  select coalesce(a.highest, 0) as id, a.lowest_cursor
  from {{ if index . "reads_by_functions" }}fedsender.shown_ids(){{ else }}({{ template "common/shown_ids.sql" . }}){{ end }} a
), source as materialized (
  select dead_after_failures from fedsender.source
), listed as materialized (
  select list, domain from fedsender.{{ if index . "reads_by_functions" }}shown_lists(){{ else }}source_domain_list{{ end }} where expires_at is null or expires_at > now()
), rule as (
  select case when exists (select from listed where list = 'allow') then 'allow' else 'block' end as list
), lists as (
  select distinct l.domain from listed l join rule r using (list)
), instance as (
  select * from {{ if index . "reads_by_functions" }}fedsender.shown_instances(){{ else }}({{ template "common/shown_instances.sql" . }}){{ end }} i
), holder as materialized (
  -- Looked up, not joined: what is not asked for is not read.
  select jsonb_object_agg(s.pid, s.holder) as names from fedsender.sessions() s
), next as materialized (
  -- What comes next at each slot's distance from the head. Joined, the array would be carried in every row.
  {{ if index . "reads_by_functions" -}}
  select fedsender.shown_times(array(
    select h.id - fedsender.lag_distance(s)
    from generate_series(1, fedsender.lag_slot(h.id - h.lowest_cursor)) s
    order by s
  )) as published_at
  {{- else -}}
  select array(
    select (select a.published_at from fedsender.source_activity a where a.id > h.id - fedsender.lag_distance(s) order by a.id limit 1)
    from generate_series(1, fedsender.lag_slot(h.id - h.lowest_cursor)) s
    order by s
  ) as published_at
  {{- end }}
  from head h
)
select i.domain,
  case
    when w.blocked then 'blocked'
    when i.paused_until > now() then 'paused'
    when w.dead then 'dead'
    when i.fail_count > 0 and not coalesce(i.last_success_at > coalesce(i.last_retry_at, i.last_error_at), false) then 'failing'
    when (select published_at from next)[fedsender.lag_slot(h.id - i.last_successful_id)] < now() - interval '2 minutes' then 'lagging'
    else 'ok'
  end as state,
  greatest(h.id - coalesce(i.last_successful_id, h.id), 0) as ids_behind,
  greatest(now() - (select published_at from next)[fedsender.lag_slot(h.id - i.last_successful_id)], '0') as lag,
  coalesce(i.fail_count, 0) as fail_count,
  i.last_error,
  case
    when w.blocked then null
    when i.paused_until > now() then nullif(i.paused_until, 'infinity')
    when w.dead then greatest(i.last_retry_at + interval '1 day', i.not_before)
    when i.fail_count > 0 and not coalesce(i.last_success_at > coalesce(i.last_retry_at, i.last_error_at), false) then greatest(i.last_retry_at + least(power(1.25::float8, least(i.fail_count - 1, 60)), 86400) * interval '1 second', i.not_before)
    when i.not_before > now() then i.not_before
  end as next_retry_at,
  i.last_success_at,
  case when p.instance_id is not null then
    coalesce((select names from holder) ->> p.pid::text, 'not a sender: pid ' || p.pid, 'not a sender: a prepared transaction')
  end as holder,
  coalesce(d.number, 0) as dead_letters,
  i.id as instance_id, coalesce(i.last_successful_id, 0) as cursor_id, i.last_http_status, i.last_error_at,
  greatest(i.last_seen_at, i.last_success_at) as alive_at,
  coalesce(e.number, 0) as redeliveries
from instance i
cross join head h
cross join rule r
cross join source t
left join lists l on l.domain = i.domain
cross join lateral (
  select (l.domain is null) = (r.list = 'allow') as blocked,
    i.gone or i.fail_count >= t.dead_after_failures and coalesce(greatest(i.last_seen_at, i.last_success_at), i.created_at) < now() - interval '3 days' as dead
) w
left join (
  select instance_id, min(pid) as pid from fedsender.held_leases() group by instance_id
) p on p.instance_id = i.id
left join (
  select instance_id, count(*) as number from fedsender.dead_letter group by instance_id
) d on d.instance_id = i.id
left join (
  select instance_id, count(*) as number from fedsender.redelivery group by instance_id
) e on e.instance_id = i.id;
comment on view fedsender.instance_status is 'Where each instance stands. Calls held_leases() if holder is asked for.';
comment on column fedsender.instance_status.domain is 'The instance.';
comment on column fedsender.instance_status.state is 'The first that holds: blocked (by domain_allow or domain_block), paused (instance_control), dead (its shared inbox is gone, or source.dead_after_failures tries in a row failed, 20 of them for native, and it gave no sign of life for 3 days), failing (fail_count > 0, and no success since the last failure), lagging (lag over 2 minutes), ok.';
comment on column fedsender.instance_status.ids_behind is 'Ids between its cursor and the newest activity, most of which may be for others.';
comment on column fedsender.instance_status.lag is 'Age of the oldest activity behind its cursor. Up to a minute is how late the cursor is written where nothing was meant for it.';
comment on column fedsender.instance_status.fail_count is 'Failed rounds less successes since.';
comment on column fedsender.instance_status.last_error is 'What went wrong last; kept after a success.';
comment on column fedsender.instance_status.next_retry_at is 'When it is tried again: back-off, Retry-After, end of the pause, or the daily probe of a dead one; in the past: due. Null: nothing is waited for, or it is for an operator to end.';
comment on column fedsender.instance_status.last_success_at is 'Its last 2xx.';
comment on column fedsender.instance_status.holder is 'The process that delivers to it; null: none at this moment.';
comment on column fedsender.instance_status.dead_letters is 'Its rows in dead_letter.';
comment on column fedsender.instance_status.instance_id is 'Its id.';
comment on column fedsender.instance_status.cursor_id is 'Every activity up to this id is settled.';
comment on column fedsender.instance_status.last_http_status is 'Of last_error; null: there was no answer.';
comment on column fedsender.instance_status.last_error_at is 'When last_error was.';
comment on column fedsender.instance_status.alive_at is 'Its last sign of life; null: none but its row.';
comment on column fedsender.instance_status.redeliveries is 'Dead letters that were retried and wait to be sent again, its rows in redelivery.';

---- create above / drop below ----

drop view if exists fedsender.instance_status;
drop function if exists fedsender.lag_slot(bigint), fedsender.lag_distance(integer);
