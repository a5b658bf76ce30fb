-- What operators call, and means the same whatever the application's tables are.

create function fedsender.instance_named(domain text) returns integer
language plpgsql stable
as $$
declare
  v_id integer;
begin
  select i.id into v_id from fedsender.source_instance i where i.domain = lower(instance_named.domain);
  if v_id is null then
    raise exception 'there is no instance with domain %', domain
      using errcode = 'no_data_found', hint = 'sender status lists them; IDN domains are in punycode.';
  end if;
  return v_id;
end
$$;
comment on function fedsender.instance_named(text) is 'The id of the instance with this domain; raises no_data_found where there is none.';

create function fedsender.pause(domain text, until timestamptz default 'infinity') returns void
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
begin
  insert into fedsender.instance_control (instance_id, paused_until)
  values (v_id, coalesce(until, 'infinity'))
  on conflict (instance_id) do update set paused_until = excluded.paused_until;
end
$$;
comment on function fedsender.pause(text, timestamptz) is 'Send nothing to this instance until then; its cursor stands still.';

create function fedsender.resume(domain text) returns void
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
begin
  update fedsender.instance_control set paused_until = null where instance_id = v_id;
end
$$;
comment on function fedsender.resume(text) is 'End a pause.';

create function fedsender.skip_to_latest(domain text) returns bigint
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
  v_from bigint;
  v_to bigint;
begin
  select last_successful_id into v_from from {{ .queue_state }} where instance_id = v_id for update;
  -- After a restore from an older backup that is back.
  select coalesce(max(id), v_from, 0) into v_to from fedsender.source_activity;
  v_from := coalesce(v_from, v_to);
  perform fedsender.move_cursor(v_id, v_to);
  return v_to - v_from;
end
$$;
comment on function fedsender.skip_to_latest(text) is 'Give up all that waits for this instance. Returns by how many ids the cursor moved; below zero where it was beyond the newest.';

create function fedsender.replay(domain text, since timestamptz) returns bigint
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
  v_from bigint;
  v_to bigint;
begin
  select last_successful_id into v_from from {{ .queue_state }} where instance_id = v_id for update;
  select min(id) - 1, coalesce(v_from, max(id), 0) into v_to, v_from from fedsender.source_activity where published_at >= since;
  v_to := least(v_from, v_to);
  perform fedsender.move_cursor(v_id, v_to);
  return v_from - v_to;
end
$$;
comment on function fedsender.replay(text, timestamptz) is 'Send again what was published since then. Returns by how many ids the cursor went back.';

create function fedsender.drop_dead_letter(letter_id bigint) returns void
language plpgsql
as $$
begin
  delete from fedsender.dead_letter d where d.id = letter_id;
  if not found then
    raise exception 'there is no dead letter %', letter_id
      using errcode = 'no_data_found', hint = 'sender dead-letters list shows them.';
  end if;
end
$$;
comment on function fedsender.drop_dead_letter(bigint) is 'Give a dead letter up for good.';

---- create above / drop below ----

drop function fedsender.drop_dead_letter(bigint), fedsender.replay(text, timestamptz), fedsender.skip_to_latest(text),
  fedsender.resume(text), fedsender.pause(text, timestamptz), fedsender.instance_named(text);
