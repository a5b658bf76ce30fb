-- What Quill's statements tell the processes. These run in Quill's transactions: with the rights of who owns schema
-- fedsender, a fixed search_path, and nothing that can fail.

create trigger fedsender_ring after insert on quill.letter
  for each statement execute function fedsender.ring_activity();

create function fedsender.subscriber_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and (old.author_no, old.peer_no) <> (new.author_no, new.peer_no) then
    -- What was written before is still for who leaves.
    insert into fedsender.follower_tombstone (actor_id, instance_id, inbox, is_shared, through_id)
    select old.author_no, old.peer_no, coalesce(old.common_inbox, old.own_inbox), old.common_inbox is not null, coalesce(max(l.letter_no), 0)
    from quill.letter l;
    perform fedsender.log_change('follower', old.author_no, old.peer_no);
  end if;
  if tg_op <> 'DELETE' then
    perform fedsender.log_change('follower', new.author_no, new.peer_no);
  end if;
  return null;
end
$$;
create trigger fedsender_changed after insert or update or delete on quill.subscriber
  for each row execute function fedsender.subscriber_changed();
create trigger fedsender_truncated after truncate on quill.subscriber
  for each statement execute function fedsender.all_changed('followers');

create function fedsender.peer_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'INSERT' then
    insert into fedsender.queue_state (instance_id, last_successful_id)
    select new.peer_no, f.horizon from fedsender.feed f
    on conflict (instance_id) do nothing;
    -- Of what lies above the horizon, the letters of transactions that this snapshot sees are older than the peer. A row's
    -- xmin may be that of a savepoint, which no snapshot names: only what is below all that ran then counts as older.
    insert into fedsender.instance_start (instance_id, snapshot, xid, until_id)
    select new.peer_no, format('%s:%1$s:', pg_snapshot_xmin(pg_current_snapshot()))::pg_snapshot, pg_current_xact_id(),
      coalesce(max(l.letter_no), 0)
    from quill.letter l
    on conflict (instance_id) do nothing;
  end if;
  perform fedsender.log_change('instance', null, coalesce(new.peer_no, old.peer_no));
  return null;
end
$$;
create trigger fedsender_changed after insert or delete on quill.peer
  for each row execute function fedsender.peer_changed();
create trigger fedsender_updated after update on quill.peer
  for each row
  when (new.host <> old.host or new.common_inbox is distinct from old.common_inbox
    or new.heard_at > coalesce(old.heard_at, old.met_at) + interval '1 day') -- which may revive one that is dead
  execute function fedsender.peer_changed();
create trigger fedsender_truncated after truncate on quill.peer
  for each statement execute function fedsender.all_changed('instances');

create function fedsender.author_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform fedsender.log_change('actor', new.author_no, null);
  return null;
end
$$;
create trigger fedsender_changed after update of url, secret_key on quill.author
  for each row execute function fedsender.author_changed();

create trigger fedsender_changed after insert or update or delete or truncate on quill.shunned
  for each statement execute function fedsender.all_changed('list');

revoke all on function fedsender.subscriber_changed(), fedsender.peer_changed(), fedsender.author_changed() from public;

-- The trigger on quill.letter has waited for all who wrote there, so every number up to the highest is visible or a hole.
-- What was written before is not sent.
update fedsender.feed set horizon = (select coalesce(max(letter_no), 0) from quill.letter);
insert into fedsender.queue_state (instance_id, last_successful_id)
select p.peer_no, f.horizon from quill.peer p, fedsender.feed f;

---- create above / drop below ----

drop trigger fedsender_changed on quill.shunned;
drop trigger fedsender_changed on quill.author;
drop trigger fedsender_truncated on quill.peer;
drop trigger fedsender_updated on quill.peer;
drop trigger fedsender_changed on quill.peer;
drop trigger fedsender_truncated on quill.subscriber;
drop trigger fedsender_changed on quill.subscriber;
drop trigger fedsender_ring on quill.letter;
drop function fedsender.author_changed(), fedsender.peer_changed(), fedsender.subscriber_changed();
