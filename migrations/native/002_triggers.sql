{{ template "common/bells.sql" . }}

create trigger ring after insert or update of id on fedsender.activity
  for each statement execute function fedsender.ring_activity();

-- One row for each (actor, instance) that a statement touched; above 10,000 one row for all, because
-- a process then loads everything faster than it reads them one by one.
create function fedsender.follower_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'INSERT' then
    with pair as (
      select distinct actor_id, instance_id from new_rows limit 10001
    ), few as (
      select count(*) <= 10000 as yes from pair
    )
    insert into fedsender.change (kind, actor_id, instance_id)
    select 'follower', actor_id, instance_id from pair, few where few.yes
    union all
    select 'followers', null, null from few where not few.yes;
  else
    -- An instance or actor that is being deleted takes its followers along: nothing more is sent there.
    insert into fedsender.follower_tombstone (actor_id, instance_id, inbox, is_shared, through_id)
    select o.actor_id, o.instance_id, o.inbox, o.is_shared, (select coalesce(max(id), 0) from fedsender.activity)
    from (
      select distinct actor_id, instance_id, coalesce(shared_inbox, inbox) as inbox, shared_inbox is not null as is_shared
      from old_rows
    ) o
    where exists (select from fedsender.instance i where i.id = o.instance_id);
    with pair as (
      select distinct actor_id, instance_id from old_rows limit 10001
    ), few as (
      select count(*) <= 10000 as yes from pair
    )
    insert into fedsender.change (kind, actor_id, instance_id)
    select 'follower', actor_id, instance_id from pair, few where few.yes
    union all
    select 'followers', null, null from few where not few.yes;
  end if;
  if found then
    perform fedsender.ring_change();
  end if;
  return null;
end
$$;
create trigger follower_inserted after insert on fedsender.follower
  referencing new table as new_rows for each statement execute function fedsender.follower_changed();
create trigger follower_deleted after delete on fedsender.follower
  referencing old table as old_rows for each statement execute function fedsender.follower_changed();
create trigger follower_truncated after truncate on fedsender.follower
  for each statement execute function fedsender.all_changed('followers');

-- An upsert that changes nothing is no news. A follower that is made another actor's or another
-- instance's has left the old one.
-- Plans are kept for the session and made for the first statement's few rows; a nested loop would
-- never end with a million. Where one can't be avoided, its price of 10^10 would have the plan compiled: 0.8 s a call.
create function fedsender.follower_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
begin
  insert into fedsender.follower_tombstone (actor_id, instance_id, inbox, is_shared, through_id)
  select o.actor_id, o.instance_id, o.inbox, o.is_shared, (select coalesce(max(id), 0) from fedsender.activity)
  from (
    select distinct r.actor_id, r.instance_id, coalesce(r.shared_inbox, r.inbox) as inbox, r.shared_inbox is not null as is_shared
    from old_rows r
    where not exists (
      select from new_rows n
      where n.actor_id = r.actor_id and n.follower_ap_id = r.follower_ap_id and n.instance_id = r.instance_id)
  ) o;
  with changed as materialized (
    select coalesce(o.actor_id, n.actor_id) as actor_id, o.instance_id as old_instance_id, n.instance_id as new_instance_id
    from old_rows o
    full join new_rows n using (actor_id, follower_ap_id)
    where (o.instance_id, o.inbox, o.shared_inbox) is distinct from (n.instance_id, n.inbox, n.shared_inbox)
  ), pair as (
    select actor_id, old_instance_id as instance_id from changed where old_instance_id is not null
    union
    select actor_id, new_instance_id from changed where new_instance_id is not null
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
  return null;
end
$$;
create trigger follower_updated after update on fedsender.follower
  referencing old table as old_rows new table as new_rows for each statement execute function fedsender.follower_updated();

-- The cursor begins at the horizon, below which all is decided; the snapshot tells which of the
-- activities above it were there before the instance was.
create function fedsender.instance_inserted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.queue_state (instance_id, last_successful_id)
  select n.id, f.horizon from new_rows n, fedsender.feed f
  on conflict (instance_id) do nothing;
  insert into fedsender.instance_health (instance_id)
  select id from new_rows
  on conflict (instance_id) do nothing;
  insert into fedsender.instance_start (instance_id, snapshot, xid, until_id)
  select n.id, pg_current_snapshot(), pg_current_xact_id(), coalesce((select max(id) from fedsender.activity), 0)
  from new_rows n
  on conflict (instance_id) do nothing;
  with few as (
    select count(*) <= 10000 as yes from (select from new_rows limit 10001) r
  )
  insert into fedsender.change (kind, instance_id)
  select 'instance', id from new_rows, few where few.yes
  union all
  select 'instances', null from few where not few.yes;
  if found then
    perform fedsender.ring_change();
  end if;
  return null;
end
$$;
create trigger instance_inserted after insert on fedsender.instance
  referencing new table as new_rows for each statement execute function fedsender.instance_inserted();

-- An application may write last_seen_at at every request it receives; only what revives a dead
-- instance is news. Nested loops: see follower_updated; ids are unique, so a merge or hash costs little.
create function fedsender.instance_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
begin
  with changed as (
    select n.id
    from new_rows n
    join old_rows o on o.id = n.id
    where n.domain is distinct from o.domain
       or n.shared_inbox is distinct from o.shared_inbox
       or n.last_seen_at > coalesce(o.last_seen_at, o.created_at) + interval '1 day'
       or n.last_seen_at < o.last_seen_at
       or n.last_seen_at is distinct from o.last_seen_at
          and (select h.gone from fedsender.instance_health h where h.instance_id = n.id)
    limit 10001
  ), few as (
    select count(*) <= 10000 as yes from changed
  )
  insert into fedsender.change (kind, instance_id)
  select 'instance', id from changed, few where few.yes
  union all
  select 'instances', null from few where not few.yes;
  if found then
    perform fedsender.ring_change();
  end if;
  return null;
end
$$;
create trigger instance_updated after update on fedsender.instance
  referencing old table as old_rows new table as new_rows for each statement execute function fedsender.instance_updated();

create function fedsender.instance_deleted() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  with few as (
    select count(*) <= 10000 as yes from (select from old_rows limit 10001) r
  )
  insert into fedsender.change (kind, instance_id)
  select 'instance', id from old_rows, few where few.yes
  union all
  select 'instances', null from few where not few.yes;
  if found then
    perform fedsender.ring_change();
  end if;
  return null;
end
$$;
create trigger instance_deleted after delete on fedsender.instance
  referencing old table as old_rows for each statement execute function fedsender.instance_deleted();
create trigger instance_truncated after truncate on fedsender.instance
  for each statement execute function fedsender.all_changed('instances');

create trigger list_changed after insert or update or delete or truncate on fedsender.domain_allow
  for each statement execute function fedsender.all_changed('list');
create trigger list_changed after insert or update or delete or truncate on fedsender.domain_block
  for each statement execute function fedsender.all_changed('list');

create function fedsender.actor_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
begin
  with changed as (
    select n.id
    from new_rows n
    join old_rows o on o.id = n.id
    where (n.ap_id, n.key_id, n.private_key_pem) is distinct from (o.ap_id, o.key_id, o.private_key_pem)
    limit 10001
  ), few as (
    select count(*) <= 10000 as yes from changed
  )
  insert into fedsender.change (kind, actor_id)
  select 'actor', id from changed, few where few.yes
  union all
  select 'actors', null from few where not few.yes;
  if found then
    perform fedsender.ring_change();
  end if;
  return null;
end
$$;
create trigger actor_updated after update on fedsender.actor
  referencing old table as old_rows new table as new_rows for each statement execute function fedsender.actor_updated();

revoke all on function fedsender.follower_changed(), fedsender.follower_updated(), fedsender.instance_inserted(),
  fedsender.instance_updated(), fedsender.instance_deleted(), fedsender.actor_updated() from public;

---- create above / drop below ----

drop trigger actor_updated on fedsender.actor;
drop trigger list_changed on fedsender.domain_block;
drop trigger list_changed on fedsender.domain_allow;
drop trigger instance_truncated on fedsender.instance;
drop trigger instance_deleted on fedsender.instance;
drop trigger instance_updated on fedsender.instance;
drop trigger instance_inserted on fedsender.instance;
drop trigger follower_updated on fedsender.follower;
drop trigger follower_truncated on fedsender.follower;
drop trigger follower_deleted on fedsender.follower;
drop trigger follower_inserted on fedsender.follower;
drop trigger ring on fedsender.activity;
drop function fedsender.actor_updated(), fedsender.instance_deleted(), fedsender.instance_updated(),
  fedsender.instance_inserted(), fedsender.follower_updated(), fedsender.follower_changed();
{{ template "drop common/bells.sql" . }}
