{{ template "common/redelivery.sql" . }}

create or replace function fedsender.prune(retention interval, out lowest bigint, out deleted bigint)
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
  {{ template "common/prune_body.sql" . }}
  if retention > interval '0' then
    delete from fedsender.activity
    where id in (
      select a.id
      from fedsender.activity a
      where a.id <= v_settled and a.published_at < now() - retention
        and not exists (select from fedsender.redelivery r where r.activity_id = a.id)
        and not exists (select from fedsender.dead_letter d where d.activity_id = a.id)
      order by a.id
      limit 5000
    );
    get diagnostics deleted = row_count;
  end if;
end
$$;
comment on function fedsender.prune(interval) is
  'Delete what nobody needs any more, and up to 5,000 activities older than retention that are settled for every instance that is not dead and that no dead letter and no redelivery needs. Returns the lowest cursor and how many activities were deleted.';

---- create above / drop below ----

drop function fedsender.prune(interval);
{{ template "drop common/redelivery.sql" . }}
