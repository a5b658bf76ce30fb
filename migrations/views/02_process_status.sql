create or replace view fedsender.process_status as
with session as materialized (
  select p.id, a.pid
  from pg_stat_activity a
  join fedsender.process p on a.application_name like 'fedsender:%' and p.id = split_part(a.application_name, ':', 2)
), held as (
  select s.id, count(*) as leases
  from fedsender.held_leases() h
  join session s using (pid)
  group by s.id
)
select p.name, p.address, p.version, p.started_at as since, coalesce(h.leases, 0) as leases, p.in_flight, p.delivered_per_s, p.id
from fedsender.process p
left join held h using (id)
where exists (select from session s where s.id = p.id);
comment on view fedsender.process_status is 'The processes that live, told by their sessions. Calls held_leases() if leases is asked for.';
comment on column fedsender.process_status.name is 'Its SENDER_NAME.';
comment on column fedsender.process_status.address is 'Its SENDER_ADMIN_ADDR; empty: off.';
comment on column fedsender.process_status.version is 'Of sender.';
comment on column fedsender.process_status.since is 'When it started.';
comment on column fedsender.process_status.leases is 'Instances that it holds.';
comment on column fedsender.process_status.in_flight is 'Deliveries under way, a few seconds ago.';
comment on column fedsender.process_status.delivered_per_s is 'Deliveries a second, a few seconds ago.';
comment on column fedsender.process_status.id is 'Drawn at its start.';

---- create above / drop below ----

drop view if exists fedsender.process_status;
