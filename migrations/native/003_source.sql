-- What the processes read. Another server is supported by other views under these names.

create view fedsender.source as
select 'native'::text as name,
  'fedsender.activity'::regclass as activity_table,
  (select s.seqcache from pg_sequence s
   where s.seqrelid = pg_get_serial_sequence('fedsender.activity', 'id')::regclass) as sequence_cache;
comment on view fedsender.source is 'Which adapter this is; the table whose writers the horizon waits for; the CACHE of its id sequence, which must be 1.';
comment on column fedsender.source.name is 'The name of the adapter.';
comment on column fedsender.source.activity_table is 'The table whose writers the horizon waits for.';
comment on column fedsender.source.sequence_cache is 'CACHE of the sequence that its ids are drawn from; anything but 1 loses activities.';

create view fedsender.source_activity as
select id, ap_id, data::text as body, actor_id, null::text as key_id, published_at,
  send_inboxes, send_followers_of, send_all_instances, xid
from fedsender.activity;

create view fedsender.source_instance as
select id, domain, shared_inbox, created_at, last_seen_at
from fedsender.instance;

create view fedsender.source_follower as
select actor_id, instance_id, coalesce(shared_inbox, inbox) as inbox, shared_inbox is not null as is_shared
from fedsender.follower;

create view fedsender.source_actor as
select id, ap_id, coalesce(key_id, ap_id || '#main-key') as key_id, private_key_pem
from fedsender.actor;

create view fedsender.source_domain_list as
select 'allow'::text as list, lower(domain) as domain, expires_at from fedsender.domain_allow
union all
select 'block', lower(domain), expires_at from fedsender.domain_block;

create view fedsender.source_queue_state as
select q.instance_id, q.last_successful_id, q.fail_count, q.last_retry_at, q.last_successful_published_at,
  h.not_before, coalesce(h.throttles, 0) as throttles, coalesce(h.gone_at, '{}') as gone_at, coalesce(h.gone, false) as gone,
  h.last_success_at, h.last_error, h.last_http_status, h.last_error_at,
  coalesce(h.ahead_id, 0) as ahead_id, coalesce(h.held, '[]') as held,
  c.paused_until, c.max_in_flight,
  s.snapshot as start_snapshot, s.xid as start_xid, s.until_id as start_until_id
from fedsender.queue_state q
left join fedsender.instance_health h using (instance_id)
left join fedsender.instance_control c using (instance_id)
left join fedsender.instance_start s on s.instance_id = q.instance_id and s.until_id > q.last_successful_id;

{{ template "common/source_comments.sql" . }}

---- create above / drop below ----

drop view fedsender.source_queue_state, fedsender.source_domain_list, fedsender.source_actor, fedsender.source_follower,
  fedsender.source_instance, fedsender.source_activity, fedsender.source;
