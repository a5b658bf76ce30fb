-- What Quill's tables are read as.

create view fedsender.source as
select '{{ .source }}'::text as name,
  'quill.letter'::regclass as activity_table,
  (select s.seqcache from pg_sequence s
   where s.seqrelid = pg_get_serial_sequence('quill.letter', 'letter_no')::regclass) as sequence_cache,
  ''::text as variant,
  ''::text as variant_now,
  true as rings,
  false as stops_on_moved_cursor,
  20 as dead_after_failures,
  true as explicit_ports,
  6 as unauthorized_tries,
  null::interval as request_timeout,
  '{}'::text[] as silent_tables,
  true as follows_redirects;
{{ template "common/source_row_comments.sql" . }}
{{ template "common/source_row_comments_2.sql" . }}

create view fedsender.source_right as
select relation, null::text as attribute, privilege
from (values
  ('quill.letter', 'select'), ('quill.letter', 'trigger'), ('quill.author', 'select'), ('quill.subscriber', 'select'),
  ('quill.shunned', 'select'), ('quill.peer', 'select'), ('quill.peer', 'insert'), ('quill.peer', 'update')
) as r(relation, privilege);
{{ template "common/source_right_comments.sql" . }}

create view fedsender.source_activity as
select letter_no as id, url as ap_id, document::text as body, author_no as actor_id, null::text as key_id, written_at as published_at,
  also_to as send_inboxes,
  case when to_subscribers then array[author_no] else '{}' end as send_followers_of,
  to_everyone as send_all_instances,
  {{ template "common/xid.sql" . }} as xid,
  null::text as traceparent
from quill.letter;

create view fedsender.source_instance as
select peer_no as id, lower(host) as domain, common_inbox as shared_inbox, met_at as created_at, heard_at as last_seen_at
from quill.peer;

create view fedsender.source_follower as
select author_no as actor_id, peer_no as instance_id, coalesce(common_inbox, own_inbox) as inbox, common_inbox is not null as is_shared
from quill.subscriber;

create view fedsender.source_actor as
select author_no as id, url as ap_id, url || '#main-key' as key_id, secret_key as private_key_pem
from quill.author;

create view fedsender.source_domain_list as
select 'block'::text as list, lower(host) as domain, shunned_until as expires_at
from quill.shunned;

{{ template "common/queue_state.sql" . }}
{{ template "common/source_comments.sql" . }}
{{ template "common/source_comments_2.sql" . }}
{{ template "common/lookups.sql" . }}

---- create above / drop below ----

{{ template "drop common/lookups.sql" . }}
{{ template "drop common/queue_state.sql" . }}
drop view fedsender.source_domain_list, fedsender.source_actor, fedsender.source_follower, fedsender.source_instance,
  fedsender.source_activity, fedsender.source_right, fedsender.source;
