-- Lemmy's tables as the processes read them. Its own migrations may drop, rename or retype any column: nothing of
-- Postgres' may depend on one. So every access is in a function whose body is a string, which records no dependency and is
-- put into the query all the same (inlined: one SELECT, language sql, stable, no settings), so that indexes are used.

create or replace function fedsender.variant_found() returns text
language sql stable
as $$
{{ template "variant.sql" . }}
$$;
comment on function fedsender.variant_found() is 'Which line Lemmy''s tables are of at this moment, or a sentence on what is odd about them.';

-- Reading a million rows must need no look at who signs them, so an actor's id is made from what the activity says of it.
create or replace function fedsender.actor_number(kind text, url text) returns bigint
language sql immutable parallel safe
as $$
  select ('x' || left(md5(kind || ':' || lower(url)), 16))::bit(64)::bigint
$$;
comment on function fedsender.actor_number(text, text) is 'The id of an actor in source_actor and source_activity.';

-- Bodies of all kinds must be read: what \u says may not be text, and would be an error.
create or replace function fedsender.document(data json) returns text
language plpgsql immutable
as $$
declare
  v_text text := data::text;
  v_rest text;
begin
  if json_typeof(data) <> 'object' then
    return v_text;
  end if;
  if position('"@context"' in v_text) > 0 and v_text !~* '\\u(0000|d[89a-f])' then
    if data -> '@context' is not null then
      return v_text;
    end if;
  end if;
  v_rest := substr(v_text, position('{' in v_text) + 1);
  return '{"@context":["https://join-lemmy.org/context.json","https://www.w3.org/ns/activitystreams"]'
    || case when ltrim(v_rest, E' \t\r\n') = '}' then '' else ',' end || v_rest;
end
$$;
comment on function fedsender.document(json) is 'The text that is sent of what sent_activity stores: with an @context, which stands first, and else as it is.';

-- Lemmy itself stands among the inboxes where one of its own people is meant, and has an instance row, but never sends to
-- itself.
--
-- The keyId is that of the activity's own words, as receivers have seen it spelled before.
create or replace function fedsender.read_activities() returns table (
  id bigint, ap_id text, body text, actor_id bigint, key_id text, published_at timestamptz,
  send_inboxes text[], send_followers_of bigint[], send_all_instances boolean, xid xid8)
language sql stable rows 1000000
as $$
  select a.id, a.ap_id::text, fedsender.document(a.data),
    case when a.actor_apub_id is null then 0
      else ('x' || left(md5(a.actor_type::text || ':' || lower(a.actor_apub_id)), 16))::bit(64)::bigint end,
    '#main-key'::text, a.{{ .published }},
    case when cardinality(a.send_inboxes) = 0 then a.send_inboxes::text[] else array(
      select u.url
      from unnest(a.send_inboxes::text[]) with ordinality as u(url, place)
      where lower(substring(u.url from '^[^:/]+://([^/?#:]+)')) is distinct from coalesce((
        select lower(i.domain)
        from public.local_site l
        join public.site o on o.id = l.site_id
        join public.instance i on i.id = o.instance_id
        order by l.site_id
        limit 1), '')
      order by u.place) end,
    case when a.send_community_followers_of is null then '{}'::bigint[] else array[a.send_community_followers_of::bigint] end,
    a.send_all_instances,
    {{ template "common/xid.sql" . }}
  from public.sent_activity a
$$;
comment on function fedsender.read_activities() is 'The rows of source_activity.';

create or replace function fedsender.read_instances() returns table (
  id integer, domain text, shared_inbox text, created_at timestamptz, last_seen_at timestamptz)
language sql stable rows 5000
as $$
  select i.id, lower(i.domain)::text, s.inbox_url::text, i.{{ .published }}, i.{{ .updated }}
  from public.instance i
  left join public.site s on s.instance_id = i.id
  where i.id is distinct from (
    select o.instance_id from public.local_site l join public.site o on o.id = l.site_id order by l.site_id limit 1)
$$;
comment on function fedsender.read_instances() is 'The rows of source_instance: every instance but the one that Lemmy itself is.';

create or replace function fedsender.read_followers() returns table (actor_id bigint, instance_id integer, inbox text, is_shared boolean)
language sql stable rows 100000
as $$
  select f.community_id::bigint, p.instance_id, {{ .inbox }}, {{ .inbox_is_shared }}
  from {{ .followers }} f
  join public.community c on c.id = f.community_id
  join public.person p on p.id = f.person_id
  where c.local and not p.local and {{ .counts }}
$$;
comment on function fedsender.read_followers() is 'The rows of source_follower: remote persons who follow local communities.';

create or replace function fedsender.followers_of(actor_ids bigint[], instance_ids integer[])
returns table (actor_id bigint, instance_id integer, inbox text, is_shared boolean)
language sql stable
as $$
  select distinct f.community_id::bigint, p.instance_id, {{ .inbox }}, {{ .inbox_is_shared }}
  from unnest(actor_ids, instance_ids) as pair(actor_id, instance_id)
  join {{ .followers }} f on f.community_id = pair.actor_id::integer
  join public.community c on c.id = f.community_id
  join public.person p on p.id = f.person_id and p.instance_id = pair.instance_id
  where c.local and not p.local and {{ .counts }}
$$;

create or replace function fedsender.read_actors() returns table (id bigint, ap_id text, key_id text, private_key_pem text)
language sql stable rows 10000
as $$
  select fedsender.actor_number(s.kind, s.url), s.url, s.url || '#main-key', s.private_key
  from (
    select 'person' as kind, p.{{ .actor_url }}::text as url, p.private_key::text as private_key from public.person p where p.local
    union all
    select 'community', c.{{ .actor_url }}::text, c.private_key::text from public.community c where c.local
    union all
    select 'site', o.{{ .actor_url }}::text, o.private_key::text
    from public.local_site l
    join public.site o on o.id = l.site_id
  ) s
$$;
comment on function fedsender.read_actors() is 'The rows of source_actor: local persons and communities, and the site.';

create or replace function fedsender.actor_of(activity_id bigint) returns table (id bigint, ap_id text, key_id text, private_key_pem text)
language sql stable
as $$
  select fedsender.actor_number(a.actor_type::text, a.actor_apub_id), s.url, s.url || '#main-key', s.private_key
  from public.sent_activity a
  cross join lateral (
    select p.{{ .actor_url }}::text as url, p.private_key::text as private_key
    from public.person p
    where a.actor_type::text = 'person' and lower(p.{{ .actor_url }}) = lower(a.actor_apub_id) and p.local
    union all
    select c.{{ .actor_url }}::text, c.private_key::text
    from public.community c
    where a.actor_type::text = 'community' and lower(c.{{ .actor_url }}) = lower(a.actor_apub_id) and c.local
    union all
    select o.{{ .actor_url }}::text, o.private_key::text
    from public.local_site l
    join public.site o on o.id = l.site_id
    where a.actor_type::text = 'site' and lower(o.{{ .actor_url }}) = lower(a.actor_apub_id)
  ) s
  where a.id = actor_of.activity_id
  limit 1
$$;

-- While federation is switched off, the only domain that is allowed is none.
create or replace function fedsender.read_domain_lists() returns table (list text, domain text, expires_at timestamptz)
language sql stable
as $$
  select 'allow'::text, '.'::text, null::timestamptz
  where exists (select from public.local_site l where not l.federation_enabled)
  union all
  select 'allow', lower(i.domain)::text, null::timestamptz
  from public.federation_allowlist a
  join public.instance i on i.id = a.instance_id
  where not exists (select from public.local_site l where not l.federation_enabled)
  union all
  select 'block', lower(i.domain)::text, {{ .block_expires }}
  from public.federation_blocklist b
  join public.instance i on i.id = b.instance_id
  where not exists (select from public.local_site l where not l.federation_enabled)
$$;
comment on function fedsender.read_domain_lists() is 'The rows of source_domain_list.';

create or replace function fedsender.read_cursors() returns table (
  instance_id integer, last_successful_id bigint, fail_count integer, last_retry_at timestamptz, last_successful_published_at timestamptz)
language sql stable rows 5000
as $$
  select q.instance_id, q.last_successful_id, q.fail_count, q.{{ .last_retry }}, q.{{ .last_published }}
  from public.federation_queue_state q
  where q.last_successful_id is not null
$$;
comment on function fedsender.read_cursors() is 'Of each instance that has begun, what Lemmy''s table says.';

create or replace view fedsender.source_activity as
select id, ap_id, body, actor_id, key_id, published_at, send_inboxes, send_followers_of, send_all_instances, xid, null::text as traceparent
from fedsender.read_activities();

create or replace view fedsender.source_instance as
select id, domain, shared_inbox, created_at, last_seen_at
from fedsender.read_instances();

create or replace view fedsender.source_follower as
select actor_id, instance_id, inbox, is_shared
from fedsender.read_followers();

create or replace view fedsender.source_actor as
select id, ap_id, key_id, private_key_pem
from fedsender.read_actors();

create or replace view fedsender.source_domain_list as
select list, domain, expires_at
from fedsender.read_domain_lists();

{{ template "common/queue_state.sql" . }}

{{ template "common/source_comments.sql" . }}
{{ template "common/source_comments_2.sql" . }}
{{ template "common/source_function_comments.sql" . }}

---- create above / drop below ----

drop view if exists fedsender.source_queue_state, fedsender.source_domain_list, fedsender.source_actor, fedsender.source_follower,
  fedsender.source_instance, fedsender.source_activity;
drop function if exists fedsender.read_cursors(), fedsender.read_domain_lists(), fedsender.actor_of(bigint), fedsender.read_actors(),
  fedsender.followers_of(bigint[], integer[]), fedsender.read_followers(), fedsender.read_instances(), fedsender.read_activities(),
  fedsender.document(json), fedsender.actor_number(text, text), fedsender.variant_found();
