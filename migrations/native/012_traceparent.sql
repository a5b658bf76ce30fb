-- An application that traces may have its trace go on in the deliveries.
alter table fedsender.activity add column traceparent text;
comment on column fedsender.activity.traceparent is 'The trace that this activity belongs to, as the HTTP header of that name has it (W3C Trace Context); null: none. What is none there is passed over.';

create or replace view fedsender.source_activity as
select id, ap_id, data::text as body, actor_id, null::text as key_id, published_at,
  send_inboxes, send_followers_of, send_all_instances, xid, traceparent
from fedsender.activity;

{{ template "common/source_comments_2.sql" . }}

---- create above / drop below ----

{{ template "drop common/lookups.sql" . }}
drop view fedsender.source_activity;
create view fedsender.source_activity as
select id, ap_id, data::text as body, actor_id, null::text as key_id, published_at,
  send_inboxes, send_followers_of, send_all_instances, xid
from fedsender.activity;
{{ template "common/source_comments.sql" . }}
{{ template "common/lookups.sql" . }}

alter table fedsender.activity drop column traceparent;
