-- What the processes and operators write. Cursors are Lemmy's rows, as its API shows them.

create or replace function fedsender.begin_instances(ids integer[]) returns void
language sql
as $$
  insert into public.federation_queue_state as q (instance_id, last_successful_id, fail_count)
  select i.id, coalesce(s.from_id, f.horizon), 0
  from public.instance i
  cross join fedsender.feed f
  left join fedsender.instance_start s on s.instance_id = i.id
  where i.id = any (ids)
  on conflict (instance_id) do update set last_successful_id = excluded.last_successful_id where q.last_successful_id is null
$$;
comment on function fedsender.begin_instances(integer[]) is
  'Give instances a cursor that have none: they begin where the horizon was when their rows came, and at the present one where that is not known.';

{{ template "common/moves.sql" . }}

-- Lemmy writes instance.updated once a day and takes a server for dead that has none for three; so does this.
{{ template "common/cursors.sql" . }}

{{ template "common/retry_dead_letter.sql" . }}

create or replace function fedsender.prune(retention interval, out lowest bigint, out deleted bigint)
language plpgsql
as $$
declare
  v_ended xid8;
begin
  select coalesce(min(q.last_successful_id), 0)
  into lowest
  from fedsender.source_queue_state q
  join fedsender.source_instance i on i.id = q.instance_id;
  {{ template "common/prune_body.sql" . }}
  -- Triggers that delete from several tables would have Lemmy wait for who writes them.
  delete from fedsender.instance_health h where not exists (select from public.instance i where i.id = h.instance_id);
  delete from fedsender.instance_control h where not exists (select from public.instance i where i.id = h.instance_id);
  delete from fedsender.instance_start h where not exists (select from public.instance i where i.id = h.instance_id);
  delete from fedsender.redelivery h where not exists (select from public.instance i where i.id = h.instance_id);
  delete from fedsender.dead_letter h
  where h.instance_id is not null and not exists (select from public.instance i where i.id = h.instance_id);
end
$$;
comment on function fedsender.prune(interval) is
  'Delete what nobody needs any more. Activities are left to Lemmy, which deletes them after a week. Returns the lowest cursor and 0.';

---- create above / drop below ----

{{ template "drop common/retry_dead_letter.sql" . }}
{{ template "drop common/cursors.sql" . }}
{{ template "drop common/moves.sql" . }}
drop function if exists fedsender.prune(interval), fedsender.begin_instances(integer[]);
