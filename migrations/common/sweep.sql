-- A change is kept for an hour after its transaction has ended, however long that took: what had ended when the sweep
-- before was made, an hour ago or more.
create table fedsender.sweep (
  xid xid8 not null,
  at timestamptz not null default now(),
  one boolean primary key default true check (one)
);
insert into fedsender.sweep (xid) values (pg_snapshot_xmin(pg_current_snapshot()));
comment on table fedsender.sweep is 'One row: when old changes were last looked for.';
comment on column fedsender.sweep.xid is 'Every transaction before it had ended then.';
comment on column fedsender.sweep.at is 'When that was.';
comment on column fedsender.sweep.one is 'Keeps it one row.';

---- create above / drop below ----

drop table fedsender.sweep;
