create or replace view fedsender.retry_schedule as
select domain, state, fail_count, next_retry_at, greatest(next_retry_at - now(), '0') as next_retry_in, last_error, last_http_status,
  ids_behind, lag, instance_id
from fedsender.instance_status
where state in ('failing', 'dead') or state in ('ok', 'lagging') and next_retry_at is not null;
comment on view fedsender.retry_schedule is 'The instances that wait for their next try. Does not read pg_locks.';
comment on column fedsender.retry_schedule.domain is 'The instance.';
comment on column fedsender.retry_schedule.state is 'As in instance_status.';
comment on column fedsender.retry_schedule.fail_count is 'Failed rounds less successes since.';
comment on column fedsender.retry_schedule.next_retry_at is 'As in instance_status.';
comment on column fedsender.retry_schedule.next_retry_in is 'How long until then; 0: due.';
comment on column fedsender.retry_schedule.last_error is 'What went wrong last.';
comment on column fedsender.retry_schedule.last_http_status is 'Of last_error; null: there was no answer.';
comment on column fedsender.retry_schedule.ids_behind is 'As in instance_status.';
comment on column fedsender.retry_schedule.lag is 'As in instance_status.';
comment on column fedsender.retry_schedule.instance_id is 'Its id.';

---- create above / drop below ----

drop view if exists fedsender.retry_schedule;
