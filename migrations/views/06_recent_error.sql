create or replace view fedsender.recent_error as
with instance as materialized (
  select * from {{ if index . "reads_by_functions" }}fedsender.shown_instances(){{ else }}({{ template "common/shown_instances.sql" . }}){{ end }} i
)
select i.last_error_at as at, i.domain, i.last_error as error, i.last_http_status as http_status,
  null::bigint as dead_letter_id, null::bigint as activity_id, i.id as instance_id
from instance i
where i.last_error_at > now() - interval '1 day'
union all
select d.last_at, i.domain, d.reason, d.http_status, d.id, d.activity_id, d.instance_id
from fedsender.dead_letter d
left join instance i on i.id = d.instance_id
where d.last_at > now() - interval '1 day';
comment on view fedsender.recent_error is 'What went wrong in the last day: the last error of each instance, and each dead letter.';
comment on column fedsender.recent_error.at is 'When.';
comment on column fedsender.recent_error.domain is 'The instance; null: the activity could not be prepared for several instances, or the instance is gone.';
comment on column fedsender.recent_error.error is 'What, in a sentence.';
comment on column fedsender.recent_error.http_status is 'Of the answer; null: there was none.';
comment on column fedsender.recent_error.dead_letter_id is 'The dead letter; null: the last error of an instance.';
comment on column fedsender.recent_error.activity_id is 'The activity of the dead letter.';
comment on column fedsender.recent_error.instance_id is 'The instance''s id.';

---- create above / drop below ----

drop view if exists fedsender.recent_error;
