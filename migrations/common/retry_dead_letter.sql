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
      using hint = '{{ if index . "renumbers_activities" }}Drop it, and send a new activity with a correct inbox.{{ else }}Drop it.{{ end }}';
  end if;
  perform from fedsender.source_activity a where a.id = v.activity_id;
  if not found then
    raise exception 'activity % of dead letter % is gone', v.activity_id, letter_id
      using errcode = 'no_data_found', hint = 'Drop it.';
  end if;
  if v.instance_id is not null then
    v_instances := array[v.instance_id];
  elsif v.instance_ids is not null then
    v_instances := array(select i.id from fedsender.source_instance i where i.id <@ v.instance_ids order by i.id);
  else
    -- Nobody noted who did not get it.
    {{ if index . "renumbers_activities" -}}
    -- A fresh id puts it at the end of the feed for everybody.
    update fedsender.activity a set id = default, xid = default where a.id = v.activity_id;
    {{- else -}}
    v_instances := array(
      select i.id
      from fedsender.source_activity a
      cross join fedsender.source_instance i
      where a.id = v.activity_id and (
        a.send_all_instances and i.shared_inbox is not null
        or i.id in (select f.instance_id from fedsender.source_follower f where f.actor_id = any (a.send_followers_of))
        or i.domain in (select lower(substring(u from '^https?://([^/?#]+)')) from unnest(a.send_inboxes) u)));
    {{- end }}
  end if;
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

drop function if exists fedsender.retry_dead_letter(bigint);
