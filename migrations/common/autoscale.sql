-- What the number of processes is decided by.

alter table fedsender.process
  add waiting bigint not null default 0,
  add waiting_instances integer not null default 0,
  add arriving_per_s real not null default 0,
  add lag_seconds real not null default 0,
  add busy real not null default 0;
comment on column fedsender.process.waiting is 'Deliveries that wait for instances which take them, as far as can be told without reading them.';
comment on column fedsender.process.waiting_instances is 'Instances for which they wait.';
comment on column fedsender.process.arriving_per_s is 'Deliveries a second that new activities asked for before that, to instances which take them.';
comment on column fedsender.process.lag_seconds is 'Age of the oldest activity that waits for an instance which takes deliveries.';
comment on column fedsender.process.busy is 'Which part of what it may use it used before that: of its processors, or of SENDER_MAX_IN_FLIGHT with deliveries to instances which take them; the larger of the two, 0 to 1.';

create table fedsender.autoscale_setting (
  min_processes integer not null default 1 check (min_processes >= 1),
  max_processes integer not null default 100 check (max_processes >= min_processes),
  drain_seconds integer not null default 600 check (drain_seconds between 1 and 86400),
  one boolean primary key default true check (one)
);
insert into fedsender.autoscale_setting default values;
comment on table fedsender.autoscale_setting is 'One row: within what autoscale may decide. Yours to update.';
comment on column fedsender.autoscale_setting.min_processes is 'desired_replicas is never below.';
comment on column fedsender.autoscale_setting.max_processes is 'desired_replicas is never above.';
comment on column fedsender.autoscale_setting.drain_seconds is 'How soon a backlog should be gone.';
comment on column fedsender.autoscale_setting.one is 'Keeps it one row.';

create table fedsender.demand (
  slot smallint primary key check (slot between 0 and 59),
  at timestamptz not null,
  need real not null,
  desired integer not null
) with (fillfactor = 50);
comment on table fedsender.demand is 'What autoscale has said in each of the last 60 minutes: it is slow to want less. One of the processes writes it.';
comment on column fedsender.demand.slot is 'The minute of the hour.';
comment on column fedsender.demand.at is 'That minute.';
comment on column fedsender.demand.need is 'The most that was needed in it: processes, each fully busy.';
comment on column fedsender.demand.desired is 'The most that was desired in it.';

---- create above / drop below ----

drop table fedsender.demand, fedsender.autoscale_setting;
alter table fedsender.process drop waiting, drop waiting_instances, drop arriving_per_s, drop lag_seconds, drop busy;
