{{ template "common/health_cursor.sql" . }}

{{ template "common/queue_state.sql" . }}

{{ template "common/cursors.sql" . }}

---- create above / drop below ----

-- 007 drops the other one.
drop function fedsender.save_checkpoints(jsonb);

create or replace view fedsender.source_queue_state as
select q.instance_id, q.last_successful_id, q.fail_count, q.last_retry_at, q.last_successful_published_at,
  h.not_before, coalesce(h.throttles, 0) as throttles, coalesce(h.gone_at, '{}') as gone_at, coalesce(h.gone, false) as gone,
  h.last_success_at, h.last_error, h.last_http_status, h.last_error_at,
  coalesce(h.ahead_id, 0) as ahead_id, coalesce(h.held, '[]') as held,
  c.paused_until, c.max_in_flight,
  s.snapshot as start_snapshot, s.xid as start_xid, s.until_id as start_until_id
from fedsender.queue_state q
left join fedsender.instance_health h using (instance_id)
left join fedsender.instance_control c using (instance_id)
left join fedsender.instance_start s on s.instance_id = q.instance_id and s.until_id > q.last_successful_id;

{{ template "drop common/health_cursor.sql" . }}
