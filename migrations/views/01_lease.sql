-- The planner takes pg_locks for one row and nests loops over it; a function that is not inlined (volatile) can say
-- how many there are.
create or replace function fedsender.held_leases() returns table (instance_id integer, pid integer)
language sql volatile parallel restricted rows 10000
begin atomic
  select l.objid::bigint::integer, l.pid
  from pg_locks l
  where l.locktype = 'advisory' and l.classid = 1717920627 and l.objsubid = 2 and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database());
end;
comment on function fedsender.held_leases() is
  'The advisory locks that are leases, and whose. Reads pg_locks, which holds up every writer of the server while many are held (20 ms at 30,000): seldom, and once in a query.';

-- A sender's lease session is called fedsender:<id of the process>:<leases at most>:<version of balance>, and :leaving when
-- it shuts down; that much everybody may see of it, the owner also since when it is silent.
create or replace function fedsender.sessions() returns table (pid integer, process_id text, holder text, state_change timestamptz)
language sql stable security definer rows 100 set search_path = pg_catalog, pg_temp
begin atomic
  select a.pid, p.id,
    coalesce(p.name, substring(a.application_name from '^fedsender:[^:]+'), 'not a sender: pid ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '')),
    case when a.application_name like 'fedsender:%' then a.state_change end
  from pg_stat_activity a
  left join fedsender.process p on a.application_name like 'fedsender:%' and p.id = split_part(a.application_name, ':', 2);
end;
comment on function fedsender.sessions() is 'What a session is called as the holder of a lease, and which process it is. Reads with the rights of the owner.';

create or replace view fedsender.lease as
select l.instance_id, i.domain,
  coalesce(s.holder, 'not a sender: pid ' || l.pid, 'not a sender: a prepared transaction') as holder, l.pid, s.process_id
from fedsender.held_leases() l
left join fedsender.sessions() s using (pid)
left join fedsender.{{ if index . "reads_by_functions" }}shown_instances(){{ else }}source_instance{{ end }} i on i.id = l.instance_id;
comment on view fedsender.lease is 'Which process may deliver to which instance, straight from the locks. Calls held_leases().';
comment on column fedsender.lease.instance_id is 'The instance.';
comment on column fedsender.lease.domain is 'Its domain; null: its row is gone.';
comment on column fedsender.lease.holder is 'Name of the process; fedsender: and its id where it has no row in process; not a sender: … where somebody else holds the lock, so that no process can.';
comment on column fedsender.lease.pid is 'The server''s process of the session that holds the lock.';
comment on column fedsender.lease.process_id is 'As in process_status.';

---- create above / drop below ----

drop view if exists fedsender.lease;
drop function if exists fedsender.sessions(), fedsender.held_leases();
