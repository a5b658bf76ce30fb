-- Every function here runs inside the application's transaction: fixed search_path or none that matters, the owner's
-- rights, nothing that can raise. Nobody else may hang them on tables of his own.

-- A transaction that has notified can't be prepared (PREPARE TRANSACTION, Postgres manual), so on a
-- server that allows prepared transactions nobody notifies and the processes poll faster instead.
create function fedsender.may_notify() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return current_setting('max_prepared_transactions') = '0';
comment on function fedsender.may_notify() is 'Whether triggers of this server may NOTIFY: not where transactions can be prepared.';

-- It runs for every insert. A search_path of its own would be a fifth of what it costs, so each name and operator in it has
-- its schema. A snapshot that is older than the arming can't see it, hence the isolation level.
create function fedsender.ring_activity() returns trigger
language plpgsql security definer
as $$
begin
  if (exists (select from fedsender.doorbell where armed)
      or pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.=) any ('{repeatable read,serializable}'::pg_catalog.text[]))
     and fedsender.may_notify() then
    perform pg_catalog.pg_notify('fedsender_activity', '');
  end if;
  return null;
end
$$;

create function fedsender.ring_change() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if fedsender.may_notify() then
    perform pg_notify('fedsender_change', '');
  end if;
end
$$;

create function fedsender.log_change(kind text, actor_id bigint, instance_id integer) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into fedsender.change (kind, actor_id, instance_id) values (kind, actor_id, instance_id);
  perform fedsender.ring_change();
end
$$;
comment on function fedsender.log_change(text, bigint, integer) is 'Tell all processes; the control functions call it.';

-- What was truncated or is too much to name is read anew as a whole.
create function fedsender.all_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.log_change(tg_argv[0], null, null);
  return null;
end
$$;

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

revoke all on function fedsender.ring_activity(), fedsender.ring_change(), fedsender.log_change(text, bigint, integer),
  fedsender.all_changed(), fedsender.control_changed() from public;

---- create above / drop below ----

drop trigger control_changed on fedsender.instance_control;
drop function if exists fedsender.control_changed(), fedsender.all_changed(), fedsender.log_change(text, bigint, integer),
  fedsender.ring_change(), fedsender.ring_activity(), fedsender.may_notify();
