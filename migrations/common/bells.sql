-- Every function here runs inside the application's transaction: fixed search_path or none that matters, the owner's
-- rights, nothing that can raise. Nobody else may hang them on tables of his own.

-- A transaction that has notified can't be prepared (PREPARE TRANSACTION, Postgres manual), so on a
-- server that allows prepared transactions nobody notifies and the processes poll faster instead.
create function fedsender.may_notify() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return current_setting('max_prepared_transactions') = '0';
comment on function fedsender.may_notify() is 'Whether triggers of this server may NOTIFY: not where transactions can be prepared.';

-- The sequence of doorbell.awake stands at 1 while the row is known to say that nobody sleeps. Reading it takes no query, and
-- tells what it is at that moment, whatever the snapshot. The body is parsed here, so that the sequence can't go away beneath
-- it; the planner puts it in the caller's place.
create function fedsender.all_awake() returns boolean
language sql
return coalesce(pg_catalog.pg_sequence_last_value('fedsender.doorbell_awake_seq'::pg_catalog.regclass) operator(pg_catalog.=) 1, false);
comment on function fedsender.all_awake() is 'Whether INSERTs are spared a look at the doorbell: nobody wants to be woken. False while that is not known.';

-- What a sequence is set to stays when the transaction is rolled back. So whoever arms sets it at once, before he commits;
-- it is set back only while the row says "not armed", is committed and is locked. That is never so where this transaction
-- has changed the row, and a transaction without an id has changed nothing: whoever disarms does it twice, in two
-- transactions. It is a statement's trigger so that a statement that changes no row can do either.
create function fedsender.doorbell_written() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if fedsender.all_awake() then
    if exists (select from fedsender.doorbell where armed) then
      perform setval('fedsender.doorbell_awake_seq', 2);
    end if;
  elsif pg_current_xact_id_if_assigned() is null then
    perform from fedsender.doorbell where not armed for no key update skip locked;
    if found then
      perform setval('fedsender.doorbell_awake_seq', 1);
    end if;
  end if;
  return null;
end
$$;
create trigger doorbell_written after insert or update on fedsender.doorbell
  for each statement execute function fedsender.doorbell_written();

-- A snapshot that is older than the arming can't see it, hence the isolation level. Below it the snapshot is one of now,
-- because this is volatile, and not that of a statement that may have begun long ago.
create function fedsender.ring_if_armed() returns void
language plpgsql
as $$
begin
  if (exists (select from fedsender.doorbell where armed)
      or pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.=) any ('{repeatable read,serializable}'::pg_catalog.text[]))
     and fedsender.may_notify() then
    perform pg_catalog.pg_notify('fedsender_activity', '');
  end if;
end
$$;

comment on function fedsender.ring_if_armed() is 'NOTIFY where the doorbell is armed, or this transaction can''t see whether it is.';

-- It runs for every insert. A search_path of its own would be a fifth of what it costs, so each name and operator in what it
-- calls has its schema. It is stable because a volatile function takes a snapshot to evaluate an expression.
create function fedsender.ring_activity() returns trigger
language plpgsql stable security definer
as $$
begin
  if not fedsender.all_awake() then
    perform fedsender.ring_if_armed();
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

revoke all on function fedsender.all_awake(), fedsender.doorbell_written(), fedsender.ring_if_armed(),
  fedsender.ring_activity(), fedsender.ring_change(), fedsender.log_change(text, bigint, integer),
  fedsender.all_changed(), fedsender.control_changed() from public;

---- create above / drop below ----

drop trigger control_changed on fedsender.instance_control;
drop function if exists fedsender.control_changed(), fedsender.all_changed(), fedsender.log_change(text, bigint, integer),
  fedsender.ring_change(), fedsender.ring_activity(), fedsender.ring_if_armed(), fedsender.may_notify();
drop trigger doorbell_written on fedsender.doorbell;
drop function fedsender.doorbell_written(), fedsender.all_awake();
