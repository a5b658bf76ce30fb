-- By what the processes share the instances: loads, not numbers.

create table fedsender.balance (
  version bigint not null default 0,
  weights json not null default '{}',
  made_at timestamptz not null default now(),
  made_by text not null default '',
  one boolean primary key default true check (one)
) with (fillfactor = 50);
insert into fedsender.balance default values;
comment on table fedsender.balance is 'One row: what the instances weigh and what the processes can do. All processes compute from it who has what.';
comment on column fedsender.balance.version is 'Grows with each change. Every process shows in the name of its session which one it plans with.';
comment on column fedsender.balance.weights is 'light: what an instance weighs that is not in heavy, in thousandths of a delivery a second; heavy: the others, and whose they were; processes: what each can do, in percent of a usual one.';
comment on column fedsender.balance.made_at is 'When this version was made.';
comment on column fedsender.balance.made_by is 'Id of the process that made it.';
comment on column fedsender.balance.one is 'Keeps it one row.';

alter table fedsender.process
  add leases integer not null default 0,
  add load real not null default 0,
  add speed real not null default 0,
  add heavy_ids integer[] not null default '{}',
  add heavy_loads real[] not null default '{}';
comment on column fedsender.process.leases is 'Instances that it held then.';
comment on column fedsender.process.load is 'What its instances cost: deliveries a second, one that is under way all the time counted as one a second.';
comment on column fedsender.process.speed is 'Signatures that it could make in a second; 0: it has made too few to tell.';
comment on column fedsender.process.heavy_ids is 'Its busiest instances.';
comment on column fedsender.process.heavy_loads is 'What each of them costs, as load.';

---- create above / drop below ----

alter table fedsender.process drop leases, drop load, drop speed, drop heavy_ids, drop heavy_loads;
drop table fedsender.balance;
