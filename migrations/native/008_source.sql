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
comment on view fedsender.source is 'Which adapter this is, and in what it differs from others. One row.';
comment on column fedsender.source.variant is 'Which form of the application''s tables the views were made for; empty where there is only one.';
comment on column fedsender.source.variant_now is 'Which form they have at this moment; if it is another one, sender migrate makes the views anew. A sentence where it is none that is known.';
comment on column fedsender.source.rings is 'Triggers tell of activities and changes. Where they may not, processes look for themselves: activities every 100 ms, the rest every minute.';
comment on column fedsender.source.stops_on_moved_cursor is 'An instance whose cursor another program moved is paused and left alone; where false, its holder goes on from there.';
comment on column fedsender.source.dead_after_failures is 'So many failures in a row make an instance dead that gave no sign of life for 3 days; 0: those 3 days alone do.';
comment on column fedsender.source.explicit_ports is 'Whether the URL of an inbox may name a port.';
comment on column fedsender.source.unauthorized_tries is 'How often a delivery is tried again that was answered 401.';
comment on column fedsender.source.request_timeout is 'How long a delivery may take where SENDER_REQUEST_TIMEOUT is not set; null: as the program has it.';
comment on column fedsender.source.silent_tables is 'Tables of the application without triggers that should be there: sender migrate makes them, if its role may (grant trigger on TABLE to ROLE). Empty where rings.';

-- Not by its id: in another server's tables an actor may have to be looked up by what the activity says of it.
create function fedsender.actor_of(activity_id bigint) returns table (id bigint, ap_id text, key_id text, private_key_pem text)
language sql stable
begin atomic
  select s.id, s.ap_id, s.key_id, s.private_key_pem
  from fedsender.source_activity a
  join fedsender.source_actor s on s.id = a.actor_id
  where a.id = actor_of.activity_id;
end;
comment on function fedsender.actor_of(bigint) is 'The row of source_actor that signs this activity; none where it is missing.';

---- create above / drop below ----

drop function fedsender.actor_of(bigint);
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
