create or replace view fedsender.recent_error as
select h.last_error_at as at, i.domain, h.last_error as error, h.last_http_status as http_status,
  null::bigint as dead_letter_id, null::bigint as activity_id, h.instance_id
from fedsender.source_queue_state h
left join fedsender.source_instance i on i.id = h.instance_id
where h.last_error_at > now() - interval '1 day'
union all
select d.last_at, i.domain, d.reason, d.http_status, d.id, d.activity_id, d.instance_id
from fedsender.dead_letter d
left join fedsender.source_instance i on i.id = d.instance_id
where d.last_at > now() - interval '1 day';
comment on view fedsender.recent_error is 'What went wrong in the last day: the last error of each instance, and each dead letter.';
comment on column fedsender.recent_error.at is 'When.';
comment on column fedsender.recent_error.domain is 'The instance; null: the activity could not be prepared for anybody, or the instance is gone.';
comment on column fedsender.recent_error.error is 'What, in a sentence.';
comment on column fedsender.recent_error.http_status is 'Of the answer; null: there was none.';
comment on column fedsender.recent_error.dead_letter_id is 'The dead letter; null: the last error of an instance.';
comment on column fedsender.recent_error.activity_id is 'The activity of the dead letter.';
comment on column fedsender.recent_error.instance_id is 'The instance''s id.';

---- create above / drop below ----

drop view if exists fedsender.recent_error;
