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

{{ template "common/own_cursors.sql" . }}

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

---- create above / drop below ----

{{ template "drop common/own_cursors.sql" . }}
drop function fedsender.adopt_instances(text[]), fedsender.retry_dead_letter(bigint), fedsender.enqueue(text, json, text, text[], bigint[], boolean);
{{ template "drop common/controls.sql" . }}
