-- The rule is in functions of what goes into it, so that it can be tried with any day; the view calls them with what is.

create or replace function fedsender.process_need(
  delivered_per_s float8, arriving_per_s float8, waiting bigint, waiting_instances integer, busy float8, drain_seconds integer) returns float8
language sql immutable parallel safe
begin atomic
  -- What waits at a process that has time to spare waits for receivers: more processes would wait beside it.
  select case
    when busy < 0.7 or delivered_per_s <= 0 then busy
    else least(busy / delivered_per_s * (arriving_per_s + waiting::float8 / drain_seconds), greatest(busy, waiting_instances))
  end;
end;
comment on function fedsender.process_need(float8, float8, bigint, integer, float8, integer) is
  'What it takes to do what one process is asked for, in processes that are fully busy. One that has time to spare: as much as it uses. One that has not (busy 0.7 or more): what arrives, and what waits in drain_seconds, at the rate that it has; but never more than there are instances that wait, for each is one process''s.';

create or replace function fedsender.desired_replicas(
  previous integer, settled boolean, need float8, most_needed float8, lowest integer, highest integer) returns integer
language sql immutable parallel safe
begin atomic
  select least(
    greatest(
      ceil(need / 0.8),
      case when settled then least(previous, greatest(ceil(most_needed / 0.6), ceil(previous / 2.0))) else previous end,
      lowest),
    highest)::integer;
end;
comment on function fedsender.desired_replicas(integer, boolean, float8, float8, integer, integer) is
  'How many processes there should be. Up at once: so many that each is 80 % busy. Down slowly: only when nothing has changed for five minutes (settled), never below half of what it was (previous), and not below so many that each would have been 60 % busy at the worst moment of the last ten minutes (most_needed).';

create or replace function fedsender.autoscale_at(at timestamptz) returns table (
  desired_replicas integer, deliveries_waiting bigint, lag_seconds bigint, processes integer, instances_waiting integer,
  delivered_per_s integer, arriving_per_s integer, rate_per_process integer, drain_seconds bigint, busy_percent integer, need_percent integer,
  min_replicas integer, max_replicas integer)
language plpgsql stable security definer rows 1 set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  return query
  with setting as materialized (
    select coalesce(max(s.min_processes), 1) as lowest, coalesce(max(s.max_processes), 100) as highest, coalesce(max(s.drain_seconds), 600) as drain
    from fedsender.autoscale_setting s
  ), session as materialized (
    select split_part(a.application_name, ':', 2) as id, max(coalesce(substring(a.application_name from '^fedsender:[^:]+:(\d+)')::integer, 0)) as most
    from pg_stat_activity a
    where a.application_name like 'fedsender:%' and a.application_name not like '%:leaving'
    group by 1
  ), live as materialized (
    -- Bounded, so that no row, whoever wrote it, takes the sums beyond what a number can hold. NaN is above everything.
    select p.seen_at, s.most,
      least(greatest(p.waiting, 0), 1000000000000) as waiting,
      least(greatest(p.waiting_instances, 0), 1000000) as waiting_instances,
      least(greatest(p.lag_seconds, 0), 1000000000) as lag_seconds,
      least(greatest(p.delivered_per_s, 0), 1000000) as delivered_per_s,
      least(greatest(p.arriving_per_s, 0), 1000000) as arriving_per_s,
      least(greatest(p.busy, 0), 1) as busy
    from fedsender.process p
    join session s using (id)
  ), fleet as materialized (
    -- A process that writes nothing any more is one, but what it wrote is no news.
    select count(*) as processes, count(*) filter (where l.fresh) as telling,
      coalesce(sum(l.waiting) filter (where l.fresh), 0)::bigint as waiting,
      coalesce(sum(l.waiting_instances) filter (where l.fresh), 0) as waiting_instances,
      coalesce(max(l.lag_seconds) filter (where l.fresh), 0) as lag,
      coalesce(sum(l.delivered_per_s) filter (where l.fresh), 0) as delivered,
      coalesce(sum(l.arriving_per_s) filter (where l.fresh), 0) as arriving,
      coalesce(sum(l.busy) filter (where l.fresh), 0)::float8 as busy,
      coalesce(sum(fedsender.process_need(l.delivered_per_s, l.arriving_per_s, l.waiting, l.waiting_instances, l.busy, l.drain)) filter (where l.fresh), 0) as need,
      case when bool_and(l.most > 0) then avg(l.most) end as most_leases
    from (select l.*, l.seen_at > autoscale_at.at - interval '30 seconds' as fresh, s.drain from live l cross join setting s) l
  ), before as materialized (
    select (array_agg(d.desired order by d.at desc))[1] as previous, max(d.need)::float8 as most_needed,
      coalesce(count(distinct d.desired) filter (where d.at > autoscale_at.at - interval '5 minutes') = 1, false) as settled
    from fedsender.demand d
    where d.at > autoscale_at.at - interval '10 minutes' and d.at <= autoscale_at.at
  ), cursors as materialized (
    -- Where no process tells. Ids are no deliveries: an upper bound.
    select coalesce(sum(i.ids_behind), 0)::bigint as waiting, count(*) filter (where i.ids_behind > 0) as instances, coalesce(extract(epoch from max(i.lag)), 0) as lag
    from fedsender.instance_status i
    where i.state in ('ok', 'lagging') and (select f.telling from fleet f) = 0
  ), leasable as materialized (
    select count(*) as instances
    from fedsender.instance_status i
    where i.state in ('ok', 'lagging', 'failing') and (select f.most_leases from fleet f) is not null
  )
  select fedsender.desired_replicas(
      b.previous, b.settled, f.need, greatest(b.most_needed, f.need),
      least(greatest(s.lowest, coalesce(ceil(l.instances / f.most_leases), 1)::bigint), s.highest)::integer, s.highest),
    case when f.telling > 0 then f.waiting else c.waiting end,
    case when f.telling > 0 then f.lag else c.lag end::bigint,
    f.processes::integer,
    case when f.telling > 0 then f.waiting_instances else c.instances end::integer,
    f.delivered::integer, f.arriving::integer,
    case when f.busy >= 0.01 then least(f.delivered / f.busy, 1000000)::integer else 0 end,
    case when f.telling > 0 then (f.waiting / greatest(f.delivered, 1))::bigint else 0 end,
    case when f.telling > 0 then (100 * f.busy / f.telling)::integer else 0 end,
    least(100 * f.need, 1000000)::integer,
    s.lowest, s.highest
  from setting s, fleet f, before b, cursors c, leasable l;
end
$$;
comment on function fedsender.autoscale_at(timestamptz) is 'The row of autoscale for this moment, by what the processes wrote last. Reads with the rights of the owner.';

create or replace function fedsender.note_demand(at timestamptz) returns void
language sql
begin atomic
  insert into fedsender.demand as d (slot, at, need, desired)
  select extract(minute from note_demand.at), date_trunc('minute', note_demand.at), a.need_percent / 100.0, a.desired_replicas
  from fedsender.autoscale_at(note_demand.at) a
  on conflict (slot) do update
  set at = excluded.at,
    need = case when d.at = excluded.at then greatest(d.need, excluded.need) else excluded.need end,
    desired = case when d.at = excluded.at then greatest(d.desired, excluded.desired) else excluded.desired end
  where d.at <> excluded.at or d.need < excluded.need or d.desired < excluded.desired;
end;
comment on function fedsender.note_demand(timestamptz) is 'Keep what autoscale says at this moment, now().';

create or replace view fedsender.autoscale as
select desired_replicas, deliveries_waiting, lag_seconds, processes, instances_waiting, delivered_per_s, arriving_per_s, rate_per_process,
  drain_seconds, busy_percent, need_percent, min_replicas, max_replicas
from fedsender.autoscale_at(now());
comment on view fedsender.autoscale is
  'One row of whole numbers for who starts and stops processes, such as KEDA. How desired_replicas comes about: process_need says what each process is asked for, desired_replicas makes a number of the sum, autoscale_setting bounds it. What waits for instances that are failing, dead, paused or blocked does not count. Does not read pg_locks.';
comment on column fedsender.autoscale.desired_replicas is 'How many processes there should be.';
comment on column fedsender.autoscale.deliveries_waiting is 'Deliveries that wait for instances which take them. An estimate: the processes know how many of the last activities were for an instance that is behind. While no process lives: ids, most of which may be for others.';
comment on column fedsender.autoscale.lag_seconds is 'Age of the oldest of them.';
comment on column fedsender.autoscale.processes is 'Processes that live and are not about to end.';
comment on column fedsender.autoscale.instances_waiting is 'Instances for which something waits.';
comment on column fedsender.autoscale.delivered_per_s is 'Deliveries a second, of all processes together, a few seconds ago.';
comment on column fedsender.autoscale.arriving_per_s is 'Deliveries a second that new activities asked for.';
comment on column fedsender.autoscale.rate_per_process is 'Deliveries a second that a process makes when it is fully busy, by what they do now; 0: they do too little to tell.';
comment on column fedsender.autoscale.drain_seconds is 'How long what waits takes at the rate of now, if nothing arrives.';
comment on column fedsender.autoscale.busy_percent is 'How busy a process is, on average.';
comment on column fedsender.autoscale.need_percent is 'What is needed, in hundredths of a process that is fully busy.';
comment on column fedsender.autoscale.min_replicas is 'As in autoscale_setting.';
comment on column fedsender.autoscale.max_replicas is 'As in autoscale_setting.';

---- create above / drop below ----

drop view if exists fedsender.autoscale;
drop function if exists fedsender.note_demand(timestamptz), fedsender.autoscale_at(timestamptz),
  fedsender.desired_replicas(integer, boolean, float8, float8, integer, integer),
  fedsender.process_need(float8, float8, bigint, integer, float8, integer);
