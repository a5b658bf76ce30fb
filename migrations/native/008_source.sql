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

-- Not by its id: in another server's tables an actor may have to be looked up by what the activity says of it.
create function fedsender.actor_of(activity_id bigint) returns table (id bigint, ap_id text, key_id text, private_key_pem text)
language sql stable
begin atomic
  select s.id, s.ap_id, s.key_id, s.private_key_pem
  from fedsender.source_activity a
  join fedsender.source_actor s on s.id = a.actor_id
  where a.id = actor_of.activity_id;
end;

-- As source_follower, for pairs: the ids of actors may be of another type in another server's tables, and a view that
-- casts them could not be read by their index.
create function fedsender.followers_of(actor_ids bigint[], instance_ids integer[])
returns table (actor_id bigint, instance_id integer, inbox text, is_shared boolean)
language sql stable
begin atomic
  select distinct f.actor_id, f.instance_id, f.inbox, f.is_shared
  from unnest(followers_of.actor_ids, followers_of.instance_ids) as p(actor_id, instance_id)
  join fedsender.source_follower f using (actor_id, instance_id);
end;

{{ template "common/source_function_comments.sql" . }}

---- create above / drop below ----

drop function fedsender.followers_of(bigint[], integer[]), fedsender.actor_of(bigint);
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
