-- What differs between sources besides their rows: the program reads it here and decides nothing by a source's name.

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
  '{}'::text[] as silent_tables;
{{ template "common/source_row_comments.sql" . }}

{{ template "common/lookups.sql" . }}

---- create above / drop below ----

{{ template "drop common/lookups.sql" . }}
drop view fedsender.source;
create view fedsender.source as
select 'native'::text as name,
  'fedsender.activity'::regclass as activity_table,
  (select s.seqcache from pg_sequence s
   where s.seqrelid = pg_get_serial_sequence('fedsender.activity', 'id')::regclass) as sequence_cache;
comment on view fedsender.source is 'Which adapter this is; the table whose writers the horizon waits for; the CACHE of its id sequence, which must be 1.';
comment on column fedsender.source.name is 'The name of the adapter.';
comment on column fedsender.source.activity_table is 'The table whose writers the horizon waits for.';
comment on column fedsender.source.sequence_cache is 'CACHE of the sequence that its ids are drawn from; anything but 1 loses activities.';
