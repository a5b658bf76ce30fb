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
  delete from fedsender.instance_start s using {{ .queue_state }} q
  where q.instance_id = s.instance_id and q.last_successful_id >= s.until_id;
  delete from fedsender.process where seen_at < now() - interval '1 day';