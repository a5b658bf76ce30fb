-- Old rows that nobody needs any more. Every process calls this every few minutes; one at a time does the work.

-- A change is kept for an hour after its transaction has ended, however long that took: what had ended when the sweep
-- before was made, an hour ago or more.
create table fedsender.sweep (
  xid xid8 not null,
  at timestamptz not null default now(),
  one boolean primary key default true check (one)
);
insert into fedsender.sweep (xid) values (pg_snapshot_xmin(pg_current_snapshot()));
comment on table fedsender.sweep is 'One row: when old changes were last looked for.';
comment on column fedsender.sweep.xid is 'Every transaction before it had ended then.';
comment on column fedsender.sweep.at is 'When that was.';
comment on column fedsender.sweep.one is 'Keeps it one row.';

create function fedsender.prune(retention interval, out lowest bigint, out deleted bigint)
language plpgsql
as $$
declare
  v_settled bigint;
  v_ended xid8;
begin
  -- A dead instance holds back nothing, as in instance_status; a paused or blocked one does: its cursor stands still so
  -- that it gets all when that ends.
  select coalesce(min(q.last_successful_id), 0),
    coalesce(min(q.last_successful_id) filter (where not (
      q.gone or q.fail_count >= 20 and coalesce(greatest(i.last_seen_at, q.last_success_at), i.created_at) < now() - interval '3 days')), 0)
  into lowest, v_settled
  from fedsender.source_queue_state q
  join fedsender.source_instance i on i.id = q.instance_id;
  deleted := 0;
  if not pg_try_advisory_xact_lock(hashtextextended('fedsender.prune', 0)) then
    return;
  end if;
  update fedsender.sweep s
  set xid = pg_snapshot_xmin(pg_current_snapshot()), at = now()
  from fedsender.sweep o
  where o.at < now() - interval '1 hour'
  returning o.xid into v_ended;
  if found then
    -- Transactions of the future are those of another server that this database was copied from.
    delete from fedsender.change where xid < v_ended or xid > pg_snapshot_xmax(pg_current_snapshot());
  end if;
  delete from fedsender.follower_tombstone where through_id <= lowest or removed_at < now() - interval '30 days';
  delete from fedsender.instance_start s using fedsender.queue_state q
  where q.instance_id = s.instance_id and q.last_successful_id >= s.until_id;
  delete from fedsender.process where seen_at < now() - interval '1 day';
  if retention > interval '0' then
    delete from fedsender.activity
    where id in (
      select id
      from fedsender.activity
      where id <= v_settled and published_at < now() - retention
      order by id
      limit 5000
    );
    get diagnostics deleted = row_count;
  end if;
end
$$;
comment on function fedsender.prune(interval) is
  'Delete what nobody needs any more, and up to 5,000 activities older than retention that are settled for every instance that is not dead. Returns the lowest cursor and how many activities were deleted.';

---- create above / drop below ----

drop function fedsender.prune(interval);
drop table fedsender.sweep;
