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
-- it shuts down; that much everybody may see of it.
create or replace view fedsender.lease as
with session as materialized (
  select a.pid, a.application_name, p.id, p.name
  from pg_stat_activity a
  left join fedsender.process p on a.application_name like 'fedsender:%' and p.id = split_part(a.application_name, ':', 2)
)
select l.instance_id, i.domain, coalesce(s.name, substring(s.application_name from '^fedsender:[^:]+'),
    'not a sender: pid ' || l.pid || coalesce(' (' || nullif(s.application_name, '') || ')', ''), 'not a sender: a prepared transaction') as holder, l.pid, s.id as process_id
from fedsender.held_leases() l
left join session s using (pid)
left join fedsender.source_instance i on i.id = l.instance_id;
comment on view fedsender.lease is 'Which process may deliver to which instance, straight from the locks. Calls held_leases().';
comment on column fedsender.lease.instance_id is 'The instance.';
comment on column fedsender.lease.domain is 'Its domain; null: its row is gone.';
comment on column fedsender.lease.holder is 'Name of the process; fedsender: and its id where it has no row in process; not a sender: … where somebody else holds the lock, so that no process can.';
comment on column fedsender.lease.pid is 'The server''s process of the session that holds the lock.';
comment on column fedsender.lease.process_id is 'As in process_status.';

---- create above / drop below ----

drop view if exists fedsender.lease;
drop function if exists fedsender.held_leases();
