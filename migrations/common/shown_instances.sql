select i.id, i.domain, i.created_at, i.last_seen_at, q.last_successful_id, q.fail_count, q.last_retry_at, q.not_before, q.gone, q.paused_until,
  q.last_success_at, q.last_error, q.last_http_status, q.last_error_at
from fedsender.source_instance i
left join fedsender.source_queue_state q on q.instance_id = i.id
