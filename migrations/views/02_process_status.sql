create or replace view fedsender.process_status as
with session as materialized (
  select p.id, a.pid,
    nullif(substring(a.application_name from '^fedsender:[^:]+:(\d+)')::integer, 0) as max_leases,
    coalesce(substring(a.application_name from '^fedsender:[^:]+:\d+:(\d+)')::bigint, 0) as balance_version,
    a.usename, case when coalesce(a.state_change, o.state_change) is not null then greatest(clock_timestamp() - coalesce(a.state_change, o.state_change), interval '0') end as silent_for,
    coalesce(pg_has_role(a.usesysid, 'usage') or pg_has_role('pg_signal_backend', 'usage') and not r.rolsuper, false) as may_end,
    a.application_name like '%:leaving' as leaving
  from pg_stat_activity a
  left join fedsender.sessions() o using (pid)
  left join pg_roles r on r.oid = a.usesysid
  join fedsender.process p on a.application_name like 'fedsender:%' and p.id = split_part(a.application_name, ':', 2)
), held as (
  select s.id, count(*) as leases
  from fedsender.held_leases() h
  join session s using (pid)
  group by s.id
), capacity as (
  -- Whatever stands there must not break the view; \u may not be text. A sender writes none.
  select c ->> 'id' as id, max((c ->> 'percent')::integer) as percent
  from fedsender.balance b
  cross join json_array_elements(case
    when b.weights::text not like '%\\u%' and json_typeof(b.weights -> 'processes') = 'array' then b.weights -> 'processes'
    else '[]'
  end) as c
  where c ->> 'percent' ~ '^[1-9][0-9]{0,5}$'
  group by c ->> 'id'
), live as (
  select p.*, s.max_leases, s.balance_version, s.pid, s.usename, s.may_end, s.leaving,
    -- Where it is hidden, the process's own row tells, which it writes every 5 s.
    coalesce(s.silent_for, case when clock_timestamp() - p.seen_at > interval '30 seconds' then clock_timestamp() - p.seen_at end) as silent_for, coalesce(c.percent, 100) as capacity_percent
  from fedsender.process p
  -- The session that was heard last, where one is left over from before.
  join (select distinct on (id) * from session order by id, silent_for) s using (id)
  left join capacity c using (id)
), fleet as (
  select sum(load) as load, sum(capacity_percent) as capacity_percent
  from live
)
select p.name, p.address, p.version, p.started_at as since, coalesce(h.leases, 0) as leases, p.in_flight, p.delivered_per_s, p.id,
  p.load, f.load * p.capacity_percent / f.capacity_percent as fair_load, p.capacity_percent, p.max_leases, p.balance_version,
  p.pid, p.usename as role, p.silent_for, p.may_end, p.leaving
from live p
cross join fleet f
left join held h using (id);
comment on view fedsender.process_status is 'The processes that live, told by their sessions. Calls held_leases() if leases is asked for.';
comment on column fedsender.process_status.name is 'Its SENDER_NAME.';
comment on column fedsender.process_status.address is 'Its SENDER_ADMIN_ADDR; empty: off.';
comment on column fedsender.process_status.version is 'Of sender.';
comment on column fedsender.process_status.since is 'When it started.';
comment on column fedsender.process_status.leases is 'Instances that it holds.';
comment on column fedsender.process_status.in_flight is 'Deliveries under way, a few seconds ago.';
comment on column fedsender.process_status.delivered_per_s is 'Deliveries a second, a few seconds ago.';
comment on column fedsender.process_status.id is 'Drawn at its start.';
comment on column fedsender.process_status.load is 'What its instances cost, a few seconds ago: deliveries a second, one that is under way all the time counted as one a second.';
comment on column fedsender.process_status.fair_load is 'What its load would be if all had as much as they can do.';
comment on column fedsender.process_status.capacity_percent is 'What it can do, in percent of what a usual process of the fleet can.';
comment on column fedsender.process_status.max_leases is 'Its SENDER_MAX_LEASES; null: no limit.';
comment on column fedsender.process_status.balance_version is 'The version of fedsender.balance that it plans with.';
comment on column fedsender.process_status.pid is 'The server''s process of its lease session.';
comment on column fedsender.process_status.role is 'Its role.';
comment on column fedsender.process_status.silent_for is 'Since its last statement there; a heartbeat comes every 2 s. After 30 s the others end the session, if they may: see sender doctor. Null: hidden from your role and from the owner of the schema (pg_read_all_stats), and it wrote its row of process less than 30 s ago.';
comment on column fedsender.process_status.may_end is 'Your role may end the session: select pg_terminate_backend(pid).';
comment on column fedsender.process_status.leaving is 'It shuts down and gives its instances up.';

---- create above / drop below ----

drop view if exists fedsender.process_status;
