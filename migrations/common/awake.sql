-- INSERTs are spared the look at the doorbell while nobody sleeps.

-- The sequence of an identity column can't be dropped by itself, not even with CASCADE. While nobody has set it, it does not
-- stand at 1, which means that INSERTs read the row. Processes of before may be about to arm it: they wait for this lock, and
-- so do INSERTs while this waits for one that is open.
set local lock_timeout = '2s';
alter table fedsender.doorbell add awake smallint generated always as identity (start 2);
select setval('fedsender.doorbell_awake_seq', 1) from fedsender.doorbell where not armed;
comment on table fedsender.doorbell is 'One row, read by every INSERT of activities unless nobody is known to sleep.';
comment on column fedsender.doorbell.awake is 'Means nothing itself: its sequence tells INSERTs whether to read the row (all_awake).';

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
create or replace function fedsender.ring_activity() returns trigger
language plpgsql stable security definer
as $$
begin
  if not fedsender.all_awake() then
    perform fedsender.ring_if_armed();
  end if;
  return null;
end
$$;

revoke all on function fedsender.all_awake(), fedsender.doorbell_written(), fedsender.ring_if_armed() from public;

---- create above / drop below ----

drop trigger doorbell_written on fedsender.doorbell;
drop function fedsender.doorbell_written(), fedsender.ring_if_armed(), fedsender.all_awake();
alter table fedsender.doorbell drop column awake;
