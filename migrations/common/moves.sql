-- What operators and new instances move cursors by, wherever those are kept.

create or replace function fedsender.retry_now(domain text) returns void
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
begin
  update {{ .queue_state }} q set {{ .last_retry }} = null where q.instance_id = v_id;
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
  insert into {{ .queue_state }} as q (instance_id, last_successful_id, fail_count)
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

create or replace function fedsender.place_cursors(ids integer[], cursors bigint[]) returns void
language plpgsql
as $$
begin
  update {{ .queue_state }} q
  set last_successful_id = v.cursor_id
  from unnest(ids, cursors) as v(instance_id, cursor_id)
  where q.instance_id = v.instance_id;
  delete from fedsender.instance_start where instance_id = any (ids);
end
$$;
comment on function fedsender.place_cursors(integer[], bigint[]) is 'Where new instances begin: before the activity that brought them into being.';

---- create above / drop below ----

drop function if exists fedsender.place_cursors(integer[], bigint[]), fedsender.move_cursor(integer, bigint), fedsender.retry_now(text);
