-- What else differs between sources.

create or replace view fedsender.source as
select 'native'::text as name,
  'fedsender.activity'::regclass as activity_table,
  (select s.seqcache from pg_sequence s
   where s.seqrelid = pg_get_serial_sequence('fedsender.activity', 'id')::regclass) as sequence_cache,
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
{{ template "common/source_row_comments_2.sql" . }}

-- Its tables are in schema fedsender.
create view fedsender.source_right as
select null::text as relation, null::text as attribute, null::text as privilege
where false;
{{ template "common/source_right_comments.sql" . }}

---- create above / drop below ----

drop view fedsender.source_right;
drop view fedsender.source;
create view fedsender.source as
select 'native'::text as name,
  'fedsender.activity'::regclass as activity_table,
  (select s.seqcache from pg_sequence s
   where s.seqrelid = pg_get_serial_sequence('fedsender.activity', 'id')::regclass) as sequence_cache,
  ''::text as variant,
  ''::text as variant_now,
  true as rings,
  false as stops_on_moved_cursor,
  20 as dead_after_failures,
  true as explicit_ports,
  6 as unauthorized_tries,
  null::interval as request_timeout,
  '{}'::text[] as silent_tables;
{{ template "common/source_row_comments.sql" . }}
