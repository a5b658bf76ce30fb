-- What applications and operators call. Each names what is wrong and what to do.

create function fedsender.enqueue(
  ap_id text,
  data json,
  actor_ap_id text,
  inboxes text[] default '{}',
  followers_of bigint[] default '{}',
  all_instances boolean default false
) returns bigint
language plpgsql
as $$
declare
  v_actor bigint;
  v_id bigint;
begin
  select a.id into v_actor from fedsender.actor a where a.ap_id = enqueue.actor_ap_id;
  if v_actor is null then
    raise exception 'there is no actor with ap_id %', actor_ap_id
      using hint = 'Insert it into fedsender.actor first, with its private key.';
  end if;
  insert into fedsender.activity (ap_id, data, actor_id, send_inboxes, send_followers_of, send_all_instances)
  values (enqueue.ap_id, enqueue.data, v_actor, coalesce(inboxes, '{}'), coalesce(followers_of, '{}'), coalesce(all_instances, false))
  returning id into v_id;
  return v_id;
end
$$;
comment on function fedsender.enqueue(text, json, text, text[], bigint[], boolean) is
  'Insert one activity; a plain INSERT into fedsender.activity does the same. Returns its id.';

{{ template "common/controls.sql" . }}

create function fedsender.retry_now(domain text) returns void
language plpgsql
as $$
declare
  v_id integer := fedsender.instance_named(domain);
begin
  update fedsender.queue_state set last_retry_at = null where instance_id = v_id;
  update fedsender.instance_health set not_before = null, throttles = 0 where instance_id = v_id;
  perform fedsender.log_change('retry', null, v_id);
end
$$;
comment on function fedsender.retry_now(text) is 'Try this instance at once, whatever its back-off or a 429 said.';

create function fedsender.move_cursor(instance_id integer, cursor_id bigint) returns void
language plpgsql
as $$
begin
  insert into fedsender.queue_state as q (instance_id, last_successful_id)
  values (move_cursor.instance_id, cursor_id)
  on conflict on constraint queue_state_pkey do update set last_successful_id = excluded.last_successful_id;
  update fedsender.instance_health h
  set ahead_id = 0, held = '[]'
  where h.instance_id = move_cursor.instance_id;
  delete from fedsender.instance_start s
  where s.instance_id = move_cursor.instance_id;
  perform fedsender.log_change('cursor', null, move_cursor.instance_id);
end
$$;
comment on function fedsender.move_cursor(integer, bigint) is 'Set the cursor of an instance; its holder goes on from there.';

create function fedsender.retry_dead_letter(letter_id bigint) returns void
language plpgsql
as $$
declare
  v fedsender.dead_letter;
begin
  delete from fedsender.dead_letter d where d.id = letter_id returning d.* into v;
  if v.id is null then
    raise exception 'there is no dead letter %', letter_id
      using errcode = 'no_data_found', hint = 'sender dead-letters list shows them.';
  end if;
  if v.instance_id is null and v.inbox is not null then
    raise exception 'dead letter % names no server that could be tried: %', letter_id, v.inbox
      using hint = 'Drop it, and send a new activity with a correct inbox.';
  end if;
  if v.instance_id is null then
    -- Nobody got it: a fresh id puts it at the end of the feed for everybody.
    update fedsender.activity a set id = default, xid = default where a.id = v.activity_id;
  else
    perform from fedsender.source_activity a where a.id = v.activity_id;
  end if;
  if not found then
    raise exception 'activity % of dead letter % is gone', v.activity_id, letter_id
      using errcode = 'no_data_found', hint = 'Drop it.';
  end if;
  if v.instance_id is null then
    return;
  end if;
  insert into fedsender.redelivery (instance_id, activity_id, inbox)
  values (v.instance_id, v.activity_id, coalesce(v.inbox, ''))
  on conflict (instance_id, activity_id) do update set inbox = '';
  perform fedsender.log_change('redelivery', null, v.instance_id);
end
$$;
comment on function fedsender.retry_dead_letter(bigint) is 'Try a dead letter again, outside the order of the cursor.';

-- What the processes call; the statements that differ between sources are here, not in Go.

create function fedsender.adopt_instances(domains text[]) returns setof integer
language sql
begin atomic
  with made as (
    insert into fedsender.instance (domain)
    select d.domain
    from unnest(domains) as d(domain)
    where d.domain ~ '^[!-~]+$' and length(d.domain) <= 260 and d.domain !~ '[A-Z/@?#]'
      and not exists (select from fedsender.instance i where i.domain = d.domain) -- an id drawn in vain is lost
    order by d.domain
    on conflict (domain) do nothing
    returning id
  )
  select id from made;
end;
comment on function fedsender.adopt_instances(text[]) is
  'Make the rows of domains that an inbox named; returns the ids that are new. What can be no domain is passed over. place_cursors then begins them at that activity.';

create function fedsender.begin_instances(ids integer[]) returns void
language sql
begin atomic
  insert into fedsender.queue_state (instance_id, last_successful_id)
  select i.id, f.horizon
  from fedsender.instance i, fedsender.feed f
  where i.id = any (ids)
  on conflict (instance_id) do nothing;
end;
comment on function fedsender.begin_instances(integer[]) is
  'Give instances a cursor that came without one (a restore or a replication that fires no triggers): they begin at the horizon.';

create function fedsender.place_cursors(ids integer[], cursors bigint[]) returns void
language plpgsql
as $$
begin
  update fedsender.queue_state q
  set last_successful_id = v.cursor_id
  from unnest(ids, cursors) as v(instance_id, cursor_id)
  where q.instance_id = v.instance_id;
  delete from fedsender.instance_start where instance_id = any (ids);
end
$$;
comment on function fedsender.place_cursors(integer[], bigint[]) is 'Where new instances begin: before the activity that brought them into being.';

create function fedsender.save_checkpoints(rows jsonb) returns setof integer
language sql
begin atomic
  with v as materialized (
    select *
    from jsonb_to_recordset(rows) as r(
      instance_id integer, expected bigint, cursor_id bigint, published_at timestamptz,
      fail_count integer, last_retry_at timestamptz, not_before timestamptz, throttles integer,
      gone_at timestamptz[], gone boolean, last_success_at timestamptz, last_error text,
      last_http_status integer, last_error_at timestamptz, ahead_id bigint, held jsonb)
  ), moved as (
    update fedsender.queue_state q
    set last_successful_id = v.cursor_id,
        fail_count = coalesce(v.fail_count, 0),
        last_retry_at = v.last_retry_at,
        last_successful_published_at = coalesce(v.published_at, q.last_successful_published_at)
    from v
    where q.instance_id = v.instance_id and q.last_successful_id = v.expected and v.cursor_id >= v.expected
    returning q.instance_id
  ), health as (
    insert into fedsender.instance_health as h
      (instance_id, not_before, throttles, gone_at, gone, last_success_at, last_error, last_http_status, last_error_at, ahead_id, held)
    select v.instance_id, v.not_before, coalesce(v.throttles, 0), coalesce(v.gone_at, '{}'), coalesce(v.gone, false), v.last_success_at,
      v.last_error, v.last_http_status, v.last_error_at, coalesce(v.ahead_id, 0), coalesce(v.held, '[]')
    from v join moved using (instance_id)
    on conflict (instance_id) do update
    set not_before = excluded.not_before, throttles = excluded.throttles, gone_at = excluded.gone_at,
        gone = excluded.gone, last_success_at = excluded.last_success_at, last_error = excluded.last_error,
        last_http_status = excluded.last_http_status, last_error_at = excluded.last_error_at,
        ahead_id = excluded.ahead_id, held = excluded.held
  ), alive as (
    -- Skipping spares a deadlock with who deletes the instance and its cursor.
    update fedsender.instance i
    set last_seen_at = due.last_success_at
    from (
      select o.id, v.last_success_at
      from v
      join moved using (instance_id)
      join fedsender.instance o on o.id = v.instance_id
      where o.last_seen_at is null and v.last_success_at is not null
         or o.last_seen_at < v.last_success_at - interval '1 hour'
      for no key update of o skip locked
    ) due
    where i.id = due.id
  )
  select instance_id from moved;
end;
comment on function fedsender.save_checkpoints(jsonb) is
  'Write cursors, never backwards, where the last written value still stands; returns those instances. One that is missing was moved by somebody else, or is gone.';

---- create above / drop below ----

drop function fedsender.save_checkpoints(jsonb), fedsender.begin_instances(integer[]), fedsender.place_cursors(integer[], bigint[]),
  fedsender.adopt_instances(text[]), fedsender.retry_dead_letter(bigint), fedsender.move_cursor(integer, bigint),
  fedsender.retry_now(text), fedsender.enqueue(text, json, text, text[], bigint[], boolean);
{{ template "drop common/controls.sql" . }}
