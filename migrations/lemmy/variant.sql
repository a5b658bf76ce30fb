-- By the columns that are read or written, not by a version: the newest line all of whose columns are there.
with line(name, relation, attributes) as (
  values
    ('0.19', 'sent_activity', 'id ap_id data published send_inboxes send_community_followers_of send_all_instances actor_type actor_apub_id'),
    ('0.19', 'federation_queue_state', 'instance_id last_successful_id fail_count last_retry last_successful_published_time'),
    ('0.19', 'instance', 'id domain published updated'),
    ('0.19', 'federation_allowlist', 'instance_id'),
    ('0.19', 'federation_blocklist', 'instance_id'),
    ('0.19', 'community_follower', 'community_id person_id pending'),
    ('0.19', 'person', 'id actor_id local private_key inbox_url shared_inbox_url instance_id'),
    ('0.19', 'community', 'id actor_id local private_key'),
    ('0.19', 'site', 'id actor_id private_key inbox_url instance_id'),
    ('0.19', 'local_site', 'site_id federation_enabled'),
    ('1.0', 'sent_activity', 'id ap_id data published_at send_inboxes send_community_followers_of send_all_instances actor_type actor_apub_id'),
    ('1.0', 'federation_queue_state', 'instance_id last_successful_id fail_count last_retry_at last_successful_published_time_at'),
    ('1.0', 'instance', 'id domain published_at updated_at'),
    ('1.0', 'federation_allowlist', 'instance_id'),
    ('1.0', 'federation_blocklist', 'instance_id expires_at'),
    ('1.0', 'community_actions', 'community_id person_id followed_at follow_state'),
    ('1.0', 'person', 'id ap_id local private_key inbox_url instance_id'),
    ('1.0', 'community', 'id ap_id local private_key visibility'),
    ('1.0', 'site', 'id ap_id private_key inbox_url instance_id'),
    ('1.0', 'local_site', 'site_id federation_enabled')
), lacking as (
  select l.name, string_agg(l.relation || '.' || w.attribute, ', ' order by l.relation, w.place) filter (where a.attnum is null) as columns
  from line l
  cross join unnest(string_to_array(l.attributes, ' ')) with ordinality as w(attribute, place)
  left join pg_catalog.pg_attribute a
    on a.attrelid = to_regclass('public.' || l.relation) and a.attname = w.attribute and a.attnum > 0 and not a.attisdropped
  group by l.name
)
select coalesce(
  (select name from lacking where columns is null order by name desc limit 1),
  (select string_agg('those of ' || name || ' but ' || columns, '; ' order by name) from lacking))
