create table fedsender.queue_state (
  instance_id integer primary key{{ .references_instance }},
  last_successful_id bigint not null default 0,
  fail_count integer not null default 0,
  last_retry_at timestamptz,
  last_successful_published_at timestamptz
) with (fillfactor = 60);
comment on table fedsender.queue_state is 'The cursor of each instance. Written by the process that holds the instance''s lease, on the connection that holds it.';
comment on column fedsender.queue_state.instance_id is 'Whose.';
comment on column fedsender.queue_state.last_successful_id is 'Every activity up to this id is settled for the instance. Where nothing was meant for it, written up to a minute late.';
comment on column fedsender.queue_state.fail_count is 'Failed rounds less successes since; the back-off is min(1.25^(n-1) s, 1 day).';
comment on column fedsender.queue_state.last_retry_at is 'When the last failed try was made.';
comment on column fedsender.queue_state.last_successful_published_at is 'published_at of the last settled activity.';

---- create above / drop below ----

drop table fedsender.queue_state;
