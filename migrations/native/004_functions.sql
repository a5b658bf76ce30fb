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
drop function if exists fedsender.retry_dead_letter(bigint); -- which was made here once
drop function fedsender.adopt_instances(text[]), fedsender.enqueue(text, json, text, text[], bigint[], boolean);
{{ template "drop common/controls.sql" . }}
