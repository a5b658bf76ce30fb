-- Every function here runs inside the application's transaction: fixed search_path, the owner's
-- rights, nothing that can raise.

-- A transaction that has notified can't be prepared (PREPARE TRANSACTION, Postgres manual), so on a
-- server that allows prepared transactions nobody notifies and the processes poll faster instead.
create function fedsender.may_notify() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return current_setting('max_prepared_transactions') = '0';

-- A snapshot that is older than the arming can't see it, hence the isolation level.
create function fedsender.ring_activity() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (exists (select from fedsender.doorbell where armed)
      or current_setting('transaction_isolation') in ('repeatable read', 'serializable'))
     and fedsender.may_notify() then
    perform pg_notify('fedsender_activity', '');
  end if;
  return null;
end
$$;
create trigger ring after insert or update of id on fedsender.activity
  for each statement execute function fedsender.ring_activity();

create function fedsender.log_change(kind text, actor_id bigint, instance_id integer) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.change (kind, actor_id, instance_id) values (kind, actor_id, instance_id);
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
end
$$;
revoke all on function fedsender.log_change(text, bigint, integer) from public;

create function fedsender.follower_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'DELETE' then
    insert into fedsender.follower_tombstone (actor_id, instance_id, inbox, is_shared, through_id)
    select distinct o.actor_id, o.instance_id, coalesce(o.shared_inbox, o.inbox), o.shared_inbox is not null,
      (select coalesce(max(id), 0) from fedsender.activity)
    from old_rows o
    join fedsender.instance i on i.id = o.instance_id;
    insert into fedsender.change (kind, actor_id, instance_id)
    select distinct 'follower', actor_id, instance_id from old_rows;
  elsif tg_op = 'UPDATE' then
    insert into fedsender.change (kind, actor_id, instance_id)
    select 'follower', actor_id, instance_id from old_rows
    union
    select 'follower', actor_id, instance_id from new_rows;
  else
    insert into fedsender.change (kind, actor_id, instance_id)
    select distinct 'follower', actor_id, instance_id from new_rows;
  end if;
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
  return null;
end
$$;
create trigger follower_inserted after insert on fedsender.follower
  referencing new table as new_rows for each statement execute function fedsender.follower_changed();
create trigger follower_updated after update on fedsender.follower
  referencing old table as old_rows new table as new_rows for each statement execute function fedsender.follower_changed();
create trigger follower_deleted after delete on fedsender.follower
  referencing old table as old_rows for each statement execute function fedsender.follower_changed();

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
  insert into fedsender.change (kind, instance_id)
  select 'instance', id from new_rows;
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
  return null;
end
$$;
create trigger instance_inserted after insert on fedsender.instance
  referencing new table as new_rows for each statement execute function fedsender.instance_inserted();

-- An application may write last_seen_at at every request it receives; only what revives a dead
-- instance is news.
create function fedsender.instance_updated() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.change (kind, instance_id)
  select 'instance', n.id
  from new_rows n
  join old_rows o on o.id = n.id
  where n.domain is distinct from o.domain
     or n.shared_inbox is distinct from o.shared_inbox
     or n.last_seen_at > coalesce(o.last_seen_at, o.created_at) + interval '1 day'
     or n.last_seen_at < o.last_seen_at;
  if found and fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
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
  insert into fedsender.change (kind, instance_id)
  select 'instance', id from old_rows;
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
  return null;
end
$$;
create trigger instance_deleted after delete on fedsender.instance
  referencing old table as old_rows for each statement execute function fedsender.instance_deleted();

create function fedsender.list_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.log_change('list', null, null);
  return null;
end
$$;
create trigger list_changed after insert or update or delete or truncate on fedsender.domain_allow
  for each statement execute function fedsender.list_changed();
create trigger list_changed after insert or update or delete or truncate on fedsender.domain_block
  for each statement execute function fedsender.list_changed();

create function fedsender.actor_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.change (kind, actor_id)
  select 'actor', id from new_rows;
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
  return null;
end
$$;
create trigger actor_updated after update on fedsender.actor
  referencing new table as new_rows for each statement execute function fedsender.actor_changed();

create function fedsender.control_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.log_change('control', null, coalesce(new.instance_id, old.instance_id));
  return null;
end
$$;
create trigger control_changed after insert or update or delete on fedsender.instance_control
  for each row execute function fedsender.control_changed();

---- create above / drop below ----

drop trigger control_changed on fedsender.instance_control;
drop trigger actor_updated on fedsender.actor;
drop trigger list_changed on fedsender.domain_block;
drop trigger list_changed on fedsender.domain_allow;
drop trigger instance_deleted on fedsender.instance;
drop trigger instance_updated on fedsender.instance;
drop trigger instance_inserted on fedsender.instance;
drop trigger follower_deleted on fedsender.follower;
drop trigger follower_updated on fedsender.follower;
drop trigger follower_inserted on fedsender.follower;
drop trigger ring on fedsender.activity;
drop function fedsender.control_changed(), fedsender.actor_changed(), fedsender.list_changed(),
  fedsender.instance_deleted(), fedsender.instance_updated(), fedsender.instance_inserted(),
  fedsender.follower_changed(), fedsender.log_change(text, bigint, integer), fedsender.ring_activity(),
  fedsender.may_notify();
