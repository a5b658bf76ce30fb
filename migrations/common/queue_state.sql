-- Who sets a cursor back by hand while nobody holds its instance wants all from there sent again: what was settled beyond it
-- is forgotten.

create or replace view fedsender.source_queue_state as
select q.instance_id, q.last_successful_id, q.fail_count, q.last_retry_at, q.last_successful_published_at,
  h.not_before, coalesce(h.throttles, 0) as throttles, coalesce(h.gone_at, '{}') as gone_at, coalesce(h.gone, false) as gone,
  h.last_success_at, h.last_error, h.last_http_status, h.last_error_at,
  case when h.cursor_id > q.last_successful_id then 0 else coalesce(h.ahead_id, 0) end as ahead_id, coalesce(h.held, '[]') as held,
  c.paused_until, c.max_in_flight,
  s.snapshot as start_snapshot, s.xid as start_xid, s.until_id as start_until_id
from {{ .cursors }} q
left join fedsender.instance_health h using (instance_id)
left join fedsender.instance_control c using (instance_id)
left join fedsender.instance_start s on s.instance_id = q.instance_id and s.until_id > q.last_successful_id;

---- create above / drop below ----

drop view if exists fedsender.source_queue_state;
