{{ template "common/bells.sql" . }}

{{ template "common/controls.sql" . }}

create function fedsender.enqueue(
  ap_id text,
  data json,
  actor_ap_id text,
  inboxes text[] default '{}',
  followers_of bigint[] default '{}',
  all_instances boolean default false
) returns bigint
language plpgsql
as $$
begin
  raise exception 'Lemmy writes its activities itself'
    using errcode = 'feature_not_supported', hint = 'What it inserts into sent_activity is sent.';
end
$$;
comment on function fedsender.enqueue(text, json, text, text[], bigint[], boolean) is 'Raises: Lemmy inserts into sent_activity itself.';

create function fedsender.adopt_instances(domains text[]) returns setof integer
language sql stable
begin atomic
  select null::integer where false;
end;
comment on function fedsender.adopt_instances(text[]) is 'Makes nothing: instances are Lemmy''s. An inbox on a domain without one is nobody''s.';

---- create above / drop below ----

-- The functions of triggers outlive those: they are replaced, never dropped, while Lemmy runs.
drop function if exists fedsender.follower_changed(), fedsender.instance_inserted(), fedsender.instance_updated(),
  fedsender.instance_deleted(), fedsender.site_changed(), fedsender.person_updated(), fedsender.community_updated(),
  fedsender.local_site_changed();

drop function fedsender.adopt_instances(text[]), fedsender.enqueue(text, json, text, text[], bigint[], boolean);

{{ template "drop common/controls.sql" . }}

{{ template "drop common/bells.sql" . }}
