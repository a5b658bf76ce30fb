-- What Lemmy's statements do besides: tell of what changed. They run in its transactions and must never fail one, not
-- even between its own upgrade, which may rename what they read, and the next sender migrate. Each therefore catches all
-- errors, and then asks every process to read all anew.

create or replace function fedsender.tell_all() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.log_change('followers', null, null);
exception when others then
  null;
end
$$;
comment on function fedsender.tell_all() is 'Ask every process to read all anew.';

-- One row for each pair; above 10,000 one row for all. Looked up by index, whatever the calling trigger forbids.
create or replace function fedsender.tell_followers(communities integer[], persons integer[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = on
as $$
begin
  with pair as (
    select distinct c.id as actor_id, p.instance_id
    from unnest(communities, persons) as f(community_id, person_id)
    join public.community c on c.id = f.community_id
    join public.person p on p.id = f.person_id
    where c.local and not p.local
    limit 10001
  ), few as (
    select count(*) <= 10000 as yes from pair
  )
  insert into fedsender.change (kind, actor_id, instance_id)
  select 'follower', actor_id, instance_id from pair, few where few.yes
  union all
  select 'followers', null, null from few where not few.yes;
  if found then
    perform fedsender.ring_change();
  end if;
  -- Whose row is gone can't be said to have been anywhere.
  if exists (select from unnest(persons) as f(id) where not exists (select from public.person p where p.id = f.id)) then
    perform fedsender.tell_all();
  end if;
end
$$;
comment on function fedsender.tell_followers(integer[], integer[]) is 'Tell that these persons follow, or followed, these communities.';

-- What was committed before a follower left is still for him.
create or replace function fedsender.bury_followers(communities integer[], persons integer[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = on
as $$
begin
  insert into fedsender.follower_tombstone (actor_id, instance_id, inbox, is_shared, through_id)
  select distinct c.id, p.instance_id, {{ .inbox }}, {{ .inbox_is_shared }}, (select coalesce(max(a.id), 0) from public.sent_activity a)
  from unnest(communities, persons) as f(community_id, person_id)
  join public.community c on c.id = f.community_id
  join public.person p on p.id = f.person_id
  where c.local and not p.local;
end
$$;
comment on function fedsender.bury_followers(integer[], integer[]) is 'Note that these persons followed these communities until this moment.';

-- Two arrays of the same length: community and person of each follow that the statement made, ended or changed. Nested
-- loops over its rows would never end with a million of them, and plans are kept that were made for few.
create or replace function fedsender.follower_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
declare
  v_communities integer[];
  v_persons integer[];
  v_left_communities integer[];
  v_left_persons integer[];
begin
  if tg_op = 'INSERT' then
    select array_agg(f.community_id), array_agg(f.person_id)
    into v_communities, v_persons
    from new_rows f
    where {{ .follow }} is not null;
  elsif tg_op = 'DELETE' then
    select array_agg(f.community_id), array_agg(f.person_id)
    into v_communities, v_persons
    from old_rows f
    where {{ .follow }} is not null;
    v_left_communities := v_communities;
    v_left_persons := v_persons;
  else
    with o as (
      select f.community_id, f.person_id, {{ .follow }} as follow from old_rows f
    ), n as (
      select f.community_id, f.person_id, {{ .follow }} as follow from new_rows f
    )
    select array_agg(community_id), array_agg(person_id),
      array_agg(community_id) filter (where o.follow is not null and n.follow is null),
      array_agg(person_id) filter (where o.follow is not null and n.follow is null)
    into v_communities, v_persons, v_left_communities, v_left_persons
    from o
    full join n using (community_id, person_id)
    where o.follow is distinct from n.follow;
  end if;
  if v_left_communities is not null then
    perform fedsender.bury_followers(v_left_communities, v_left_persons);
  end if;
  if v_communities is not null then
    perform fedsender.tell_followers(v_communities, v_persons);
  end if;
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

-- The cursor begins at the horizon of this moment, below which all is decided. Of the activities above it those are older
-- that this snapshot sees. A row's xmin may be that of a savepoint, which no snapshot names, so only what is below all
-- that ran then is taken for older: at worst a new instance gets what was committed a moment before it came.
create or replace function fedsender.instance_inserted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.instance_start (instance_id, snapshot, xid, until_id, from_id)
  select n.id, format('%s:%1$s:', pg_snapshot_xmin(pg_current_snapshot()))::pg_snapshot, pg_current_xact_id(),
    (select coalesce(max(a.id), 0) from public.sent_activity a), f.horizon
  from new_rows n
  cross join fedsender.feed f
  on conflict (instance_id) do nothing;
  perform fedsender.tell_instances(array(select id from new_rows));
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

create or replace function fedsender.tell_instances(ids integer[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(ids) = 0 then
    return;
  end if;
  insert into fedsender.change (kind, instance_id)
  select 'instance', u.id from unnest(ids) as u(id) where cardinality(ids) <= 10000
  union all
  select 'instances', null where cardinality(ids) > 10000;
  perform fedsender.ring_change();
end
$$;
comment on function fedsender.tell_instances(integer[]) is 'Tell that these instances changed.';

-- Lemmy writes updated once a day for each instance that answers: without it an instance is taken for dead.
create or replace function fedsender.instance_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
begin
  perform fedsender.tell_instances(array(
    select n.id
    from new_rows n
    join old_rows o on o.id = n.id
    where n.domain is distinct from o.domain
       or n.{{ .updated }} > coalesce(o.{{ .updated }}, o.{{ .published }}) + interval '1 hour'
       or n.{{ .updated }} < o.{{ .updated }}
       or n.{{ .updated }} is distinct from o.{{ .updated }}
          and (select h.gone from fedsender.instance_health h where h.instance_id = n.id)));
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

create or replace function fedsender.instance_deleted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.tell_instances(array(select id from old_rows));
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

-- A site is where an instance's shared inbox stands, and mostly comes later than the instance.
create or replace function fedsender.site_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
declare
  v_urls text[];
begin
  if tg_op = 'INSERT' then
    perform fedsender.tell_instances(array(select instance_id from new_rows));
  elsif tg_op = 'DELETE' then
    perform fedsender.tell_instances(array(select instance_id from old_rows));
  else
    perform fedsender.tell_instances(array(
      select u.id
      from new_rows n
      join old_rows o on o.id = n.id
      cross join lateral (values (n.instance_id), (o.instance_id)) as u(id)
      where (n.inbox_url, n.instance_id) is distinct from (o.inbox_url, o.instance_id)));
    v_urls := array(
      select n.{{ .actor_url }}
      from new_rows n
      join old_rows o on o.id = n.id
      where (n.private_key, n.{{ .actor_url }}) is distinct from (o.private_key, o.{{ .actor_url }}));
    perform fedsender.tell_actors('site', v_urls);
  end if;
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

create or replace function fedsender.tell_actors(kind text, urls text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(urls) = 0 then
    return;
  end if;
  insert into fedsender.change (kind, actor_id)
  select 'actor', fedsender.actor_number(tell_actors.kind, u.url) from unnest(urls) as u(url) where cardinality(urls) <= 10000
  union all
  select 'actors', null where cardinality(urls) > 10000;
  perform fedsender.ring_change();
end
$$;
comment on function fedsender.tell_actors(text, text[]) is 'Tell that the keys of these actors changed.';

-- Lemmy counts in these rows, so most statements change nothing of this.
create or replace function fedsender.person_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
declare
  v_urls text[];
  v_ids integer[];
  v_moved boolean;
begin
  select array_agg(n.{{ .actor_url }}) filter (where n.local), array_agg(n.id) filter (where not n.local),
    bool_or(n.local <> o.local or n.instance_id <> o.instance_id)
  into v_urls, v_ids, v_moved
  from new_rows n
  join old_rows o on o.id = n.id
  where n.local and (n.private_key, n.{{ .actor_url }}) is distinct from (o.private_key, o.{{ .actor_url }})
     or not n.local and ({{ .inbox_columns_of_new }}) is distinct from ({{ .inbox_columns_of_old }})
     or n.local <> o.local or n.instance_id <> o.instance_id;
  if v_urls is not null then
    perform fedsender.tell_actors('person', v_urls);
  end if;
  if v_moved or cardinality(v_ids) > 10000 then
    perform fedsender.tell_all();
  elsif v_ids is not null then
    perform fedsender.tell_follows_of(v_ids);
  end if;
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

create or replace function fedsender.tell_follows_of(persons integer[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = on
as $$
declare
  v_communities integer[];
  v_persons integer[];
begin
  select array_agg(f.community_id), array_agg(f.person_id)
  into v_communities, v_persons
  from unnest(persons) as u(id)
  join {{ .followers }} f on f.person_id = u.id
  where {{ .follow }} is not null;
  if v_communities is not null then
    perform fedsender.tell_followers(v_communities, v_persons);
  end if;
end
$$;
comment on function fedsender.tell_follows_of(integer[]) is 'Tell that the inboxes of these persons changed.';

create or replace function fedsender.community_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
declare
  v_urls text[];
begin
  v_urls := array(
    select n.{{ .actor_url }}
    from new_rows n
    join old_rows o on o.id = n.id
    where n.local and (n.private_key, n.{{ .actor_url }}) is distinct from (o.private_key, o.{{ .actor_url }}));
  perform fedsender.tell_actors('community', v_urls);
  if exists (
    select from new_rows n join old_rows o on o.id = n.id where n.local <> o.local or n.local and {{ .community_rules_changed }}
  ) then
    perform fedsender.tell_all();
  end if;
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

create or replace function fedsender.local_site_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- A site that is deleted has this table looked through, mostly in vain.
  if tg_op = 'INSERT' then
    if not exists (select from new_rows) then
      return null;
    end if;
  elsif tg_op = 'DELETE' then
    if not exists (select from old_rows) then
      return null;
    end if;
  elsif not exists (select site_id, federation_enabled from new_rows except select site_id, federation_enabled from old_rows) then
    return null;
  elsif not exists (select site_id from new_rows except select site_id from old_rows) then
    perform fedsender.log_change('list', null, null);
    return null;
  end if;
  -- Another site may be the local one.
  perform fedsender.tell_all();
  return null;
exception when others then
  perform fedsender.tell_all();
  return null;
end
$$;

revoke all on function fedsender.tell_all(), fedsender.tell_followers(integer[], integer[]), fedsender.bury_followers(integer[], integer[]),
  fedsender.follower_changed(), fedsender.instance_inserted(), fedsender.tell_instances(integer[]), fedsender.instance_updated(),
  fedsender.instance_deleted(), fedsender.site_changed(), fedsender.tell_actors(text, text[]), fedsender.person_updated(),
  fedsender.tell_follows_of(integer[]), fedsender.community_updated(), fedsender.local_site_changed()
  from public;

---- create above / drop below ----

drop function if exists fedsender.tell_all(), fedsender.tell_followers(integer[], integer[]), fedsender.bury_followers(integer[], integer[]),
  fedsender.tell_instances(integer[]), fedsender.tell_actors(text, text[]), fedsender.tell_follows_of(integer[]);
