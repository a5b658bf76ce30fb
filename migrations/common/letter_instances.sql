-- One dead letter for all whom a process could not send an activity to. Others may have got it, from another process or
-- while the key was still there, so that a retry must know who did not.
alter table fedsender.dead_letter add column instance_ids int4multirange;
comment on column fedsender.dead_letter.instance_id is
  'Null: the activity could not be prepared for several (see instance_ids), or the inbox names no server.';
comment on column fedsender.dead_letter.instance_ids is
  'The instances that did not get an activity that could not be prepared: a retry sends it to them and to nobody else. Null: see instance_id.';

---- create above / drop below ----

alter table fedsender.dead_letter drop column instance_ids;
