-- What moves cursors that are kept in fedsender.queue_state; a process saves them by cursors.sql.

{{ template "common/moves.sql" . }}

create function fedsender.begin_instances(ids integer[]) returns void
language sql
begin atomic
  insert into fedsender.queue_state (instance_id, last_successful_id)
  select i.id, f.horizon
  from {{ .instances }} i, fedsender.feed f
  where i.id = any (ids)
  on conflict (instance_id) do nothing;
end;
comment on function fedsender.begin_instances(integer[]) is
  'Give instances a cursor that came without one (a restore or a replication that fires no triggers): they begin at the horizon.';

---- create above / drop below ----

drop function fedsender.begin_instances(integer[]);
{{ template "drop common/moves.sql" . }}
