{{ template "common/letter_instances.sql" . }}

create or replace function fedsender.retry_dead_letter(letter_id bigint) returns void
language plpgsql
as $$
declare
  v fedsender.dead_letter;
  v_instances integer[];
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
  if v.instance_id is null and v.instance_ids is null then
    -- Of before 015, when nobody noted who did not get it: a fresh id puts it at the end of the feed for everybody.
    update fedsender.activity a set id = default, xid = default where a.id = v.activity_id;
  else
    perform from fedsender.source_activity a where a.id = v.activity_id;
  end if;
  if not found then
    raise exception 'activity % of dead letter % is gone', v.activity_id, letter_id
      using errcode = 'no_data_found', hint = 'Drop it.';
  end if;
  v_instances := array(
    select i.id from fedsender.source_instance i where i.id = v.instance_id or i.id <@ v.instance_ids order by i.id);
  insert into fedsender.redelivery (instance_id, activity_id, inbox)
  select u.id, v.activity_id, coalesce(v.inbox, '')
  from unnest(v_instances) as u(id)
  on conflict do nothing;
  perform fedsender.log_change('redelivery', null, u.id) from unnest(v_instances) as u(id);
end
$$;
comment on function fedsender.retry_dead_letter(bigint) is
  'Try a dead letter again at the instances that did not get the activity, outside the order of the cursor.';

---- create above / drop below ----

-- The function of 014 knows no instance_ids, which are gone.
delete from fedsender.dead_letter where instance_ids is not null and instance_id is null;
{{ template "drop common/letter_instances.sql" . }}
create or replace function fedsender.retry_dead_letter(letter_id bigint) returns void
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
  on conflict do nothing;
  perform fedsender.log_change('redelivery', null, v.instance_id);
end
$$;
comment on function fedsender.retry_dead_letter(bigint) is 'Try a dead letter again, outside the order of the cursor.';
