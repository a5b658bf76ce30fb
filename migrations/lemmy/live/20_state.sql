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

create or replace function fedsender.place_cursors(ids integer[], cursors bigint[]) returns void
language plpgsql
as $$
begin
  update public.federation_queue_state q
  set last_successful_id = v.cursor_id
  from unnest(ids, cursors) as v(instance_id, cursor_id)
  where q.instance_id = v.instance_id;
  delete from fedsender.instance_start where instance_id = any (ids);
end
$$;
comment on function fedsender.place_cursors(integer[], bigint[]) is 'Where new instances begin.';

-- Lemmy writes instance.updated once a day and takes a server for dead that has none for three; so does this.
{{ template "common/cursors.sql" . }}

create or replace function fedsender.retry_now(domain text) returns void
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
begin
  update public.federation_queue_state q set {{ .last_retry }} = null where q.instance_id = v_id;
  update fedsender.instance_health h set not_before = null, throttles = 0 where h.instance_id = v_id;
  perform fedsender.log_change('retry', null, v_id);
end
$$;
comment on function fedsender.retry_now(text) is 'Try this instance at once, whatever its back-off or a 429 said.';

create or replace function fedsender.move_cursor(instance_id integer, cursor_id bigint) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  insert into public.federation_queue_state as q (instance_id, last_successful_id, fail_count)
  values (move_cursor.instance_id, move_cursor.cursor_id, 0)
  on conflict (instance_id) do update set last_successful_id = excluded.last_successful_id;
  update fedsender.instance_health h
  set ahead_id = 0, held = '[]'
  where h.instance_id = move_cursor.instance_id;
  delete from fedsender.instance_start s
  where s.instance_id = move_cursor.instance_id;
  perform fedsender.log_change('cursor', null, move_cursor.instance_id);
end
$$;
comment on function fedsender.move_cursor(integer, bigint) is 'Set the cursor of an instance; its holder goes on from there.';

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
drop function if exists fedsender.prune(interval), fedsender.move_cursor(integer, bigint),
  fedsender.retry_now(text), fedsender.place_cursors(integer[], bigint[]), fedsender.begin_instances(integer[]);
