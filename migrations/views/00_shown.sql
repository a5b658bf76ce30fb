{{ if index . "reads_by_functions" -}}
-- Views run with the rights of the owner of the schema, but the body of a function that is put into a query with those of
-- who asks. So what the views for people read of the application comes from functions that are not put into a query.

create or replace function fedsender.shown_instances() returns table (
  id integer, domain text, created_at timestamptz, last_seen_at timestamptz, last_successful_id bigint, fail_count integer, last_retry_at timestamptz,
  not_before timestamptz, gone boolean, paused_until timestamptz,
  last_success_at timestamptz, last_error text, last_http_status integer, last_error_at timestamptz)
language sql stable security definer rows 5000 set search_path = pg_catalog, pg_temp
as $$
{{ template "common/shown_instances.sql" . }}
$$;
comment on function fedsender.shown_instances() is 'What the views show of each instance. Reads with the rights of the owner.';

create or replace function fedsender.shown_ids(out lowest bigint, out highest bigint, out lowest_cursor bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
{{ template "common/shown_ids.sql" . }}
$$;
comment on function fedsender.shown_ids() is
  'The ids of the oldest and the newest activity, and the cursor that is furthest behind. Reads with the rights of the owner.';

create or replace function fedsender.shown_times(after bigint[]) returns timestamptz[]
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
select array(
  select (select a.published_at from fedsender.source_activity a where a.id > u.id order by a.id limit 1)
  from unnest(after) with ordinality as u(id, place)
  order by u.place)
$$;
comment on function fedsender.shown_times(bigint[]) is 'When the next activity after each of these ids was made. Reads with the rights of the owner.';

create or replace function fedsender.shown_lists() returns table (list text, domain text, expires_at timestamptz)
language sql stable security definer rows 100 set search_path = pg_catalog, pg_temp
as $$
select list, domain, expires_at from fedsender.source_domain_list
$$;
comment on function fedsender.shown_lists() is 'Allowed and blocked domains. Reads with the rights of the owner.';
{{- end }}

---- create above / drop below ----

{{ if index . "reads_by_functions" -}}
drop function if exists fedsender.shown_lists(), fedsender.shown_times(bigint[]), fedsender.shown_ids(), fedsender.shown_instances();
{{- end }}
