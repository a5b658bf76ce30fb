-- One row for each inbox: two dead letters of one activity at one server must not make all its inboxes there get it again.
alter table fedsender.redelivery drop constraint redelivery_pkey;
alter table fedsender.redelivery add column id bigint generated always as identity primary key;
create unique index redelivery_once on fedsender.redelivery (instance_id, activity_id, md5(inbox));
create index redelivery_activity on fedsender.redelivery (activity_id);
comment on table fedsender.redelivery is
  'Dead letters to try again, outside the order of the cursor. Gone when settled, or a dead letter again; also with its instance.';
comment on column fedsender.redelivery.id is 'Tells rows apart.';

---- create above / drop below ----

drop index fedsender.redelivery_activity, fedsender.redelivery_once;
delete from fedsender.redelivery r using fedsender.redelivery o
where o.instance_id = r.instance_id and o.activity_id = r.activity_id and o.id < r.id;
alter table fedsender.redelivery drop column id;
alter table fedsender.redelivery add primary key (instance_id, activity_id);
