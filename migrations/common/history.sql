-- What became of the deliveries of all processes, for the charts of the web page.

create table fedsender.history (
  minute timestamptz primary key,
  delivered bigint not null default 0,
  refused bigint not null default 0,
  retry bigint not null default 0,
  unauthorized bigint not null default 0,
  throttled bigint not null default 0,
  gone bigint not null default 0,
  unusable bigint not null default 0,
  lag_seconds real not null default 0
) with (fillfactor = 50);
comment on table fedsender.history is 'What became of deliveries, a row a minute for all processes together, each of which adds its own every few seconds. Kept for two days; a minute without a row had no delivery.';
comment on column fedsender.history.minute is 'When it began.';
comment on column fedsender.history.delivered is 'Deliveries that were taken: 2xx.';
comment on column fedsender.history.refused is 'That the instance refused for good.';
comment on column fedsender.history.retry is 'That failed and are tried again.';
comment on column fedsender.history.unauthorized is 'Whose signature was refused.';
comment on column fedsender.history.throttled is 'That were put off: 429, or 503 with Retry-After.';
comment on column fedsender.history.gone is 'That met an inbox which is gone.';
comment on column fedsender.history.unusable is 'That could not be made.';
comment on column fedsender.history.lag_seconds is 'The greatest age that a process saw of an activity which waited for an instance that takes deliveries.';

---- create above / drop below ----

drop table fedsender.history;
