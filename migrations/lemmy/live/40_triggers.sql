-- Where the functions of 30_changes hang. They are made and removed one by one, each in a transaction of its own: who
-- locks two tables of Lemmy's can deadlock with it, and Lemmy's statement might be the one that fails.

create or replace function fedsender.wanted_triggers() returns table (place integer, relation text, name text, definition text)
language sql immutable
as $$
  select row_number() over ()::integer, w.relation, 'fedsender_' || w.name, format(w.definition, w.relation)
  from (values
    ('sent_activity', 'ring', 'after insert on public.%I for each statement execute function fedsender.ring_activity()'),
    ('{{ .followers_table }}', 'inserted', 'after insert on public.%I referencing new table as new_rows for each statement execute function fedsender.follower_changed()'),
    ('{{ .followers_table }}', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.follower_changed()'),
    ('{{ .followers_table }}', 'deleted', 'after delete on public.%I referencing old table as old_rows for each statement execute function fedsender.follower_changed()'),
    ('{{ .followers_table }}', 'truncated', 'after truncate on public.%I for each statement execute function fedsender.all_changed(''followers'')'),
    ('instance', 'inserted', 'after insert on public.%I referencing new table as new_rows for each statement execute function fedsender.instance_inserted()'),
    ('instance', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.instance_updated()'),
    ('instance', 'deleted', 'after delete on public.%I referencing old table as old_rows for each statement execute function fedsender.instance_deleted()'),
    ('instance', 'truncated', 'after truncate on public.%I for each statement execute function fedsender.all_changed(''instances'')'),
    ('site', 'inserted', 'after insert on public.%I referencing new table as new_rows for each statement execute function fedsender.site_changed()'),
    ('site', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.site_changed()'),
    ('site', 'deleted', 'after delete on public.%I referencing old table as old_rows for each statement execute function fedsender.site_changed()'),
    ('person', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.person_updated()'),
    ('community', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.community_updated()'),
    ('local_site', 'inserted', 'after insert on public.%I referencing new table as new_rows for each statement execute function fedsender.local_site_changed()'),
    ('local_site', 'updated', 'after update on public.%I referencing old table as old_rows new table as new_rows for each statement execute function fedsender.local_site_changed()'),
    ('local_site', 'deleted', 'after delete on public.%I referencing old table as old_rows for each statement execute function fedsender.local_site_changed()'),
    ('federation_allowlist', 'changed', 'after insert or update or delete or truncate on public.%I for each statement execute function fedsender.all_changed(''list'')'),
    ('federation_blocklist', 'changed', 'after insert or update or delete or truncate on public.%I for each statement execute function fedsender.all_changed(''list'')')
  ) as w(relation, name, definition)
$$;
comment on function fedsender.wanted_triggers() is 'The triggers that should be on Lemmy''s tables.';

create or replace function fedsender.missing_triggers() returns table (place integer, relation text, name text, definition text)
language sql stable
as $$
  select w.*
  from fedsender.wanted_triggers() w
  where not exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid = to_regclass('public.' || w.relation) and t.tgname = w.name)
$$;
comment on function fedsender.missing_triggers() is 'Those that are not there.';

-- A trigger on sent_activity waits for all who write it; once it is there, nobody does, and all ids that were drawn are
-- visible or holes for ever. So the feed begins there.
create or replace procedure fedsender.make_triggers()
language plpgsql
as $$
declare
  v record;
  v_made boolean;
begin
  -- As far as the role may: source.silent_tables tells of the rest. Who may not would wait for the lock all the same, and
  -- Lemmy's writers behind.
  for v in
    select m.* from fedsender.missing_triggers() m where pg_catalog.has_table_privilege('public.' || m.relation, 'trigger') order by m.place
  loop
    v_made := false;
    for v_try in 1..30 loop
      begin
        perform set_config('lock_timeout', '1s', true);
        execute format('create or replace trigger %I %s', v.name, v.definition);
        if v.relation = 'sent_activity' then
          update fedsender.feed set horizon = (select coalesce(max(a.id), 0) from public.sent_activity a) where horizon = 0;
        end if;
        v_made := true;
      exception
        when lock_not_available then
          if v_try = 30 then
            raise exception 'somebody holds a lock on table % for half a minute, so no trigger can be made on it', v.relation
              using errcode = 'lock_not_available', hint = 'See pg_locks; then run sender migrate again.';
          end if;
        when insufficient_privilege then
          v_made := true; -- the right was taken away meanwhile
      end;
      commit;
      exit when v_made;
    end loop;
  end loop;
  call fedsender.begin_feed();
  -- What changed while triggers were missing was told to nobody.
  perform fedsender.tell_all();
end
$$;
comment on procedure fedsender.make_triggers() is 'Make the triggers that are missing, as far as the role may.';

-- Without the right to make that trigger no lock can be asked for that waits for writers. Whoever may have drawn an id below
-- the highest holds the lock that an INSERT takes, or has ended: an INSERT draws its id under it.
create or replace procedure fedsender.begin_feed()
language plpgsql
as $$
declare
  v_highest bigint;
  v_writers text[];
begin
  if not exists (select from fedsender.feed f where f.horizon = 0)
     or not exists (select from fedsender.missing_triggers() m where m.relation = 'sent_activity') then
    return;
  end if;
  select coalesce(max(a.id), 0) into v_highest from public.sent_activity a;
  -- One that is prepared keeps its virtual number (since PostgreSQL 14.1).
  v_writers := array(
    select l.virtualtransaction
    from pg_catalog.pg_locks l
    where l.relation = 'public.sent_activity'::regclass and l.granted
      and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
      and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'));
  for v_try in 1..120 loop
    exit when not exists (
      select from pg_catalog.pg_locks l
      where l.relation = 'public.sent_activity'::regclass and l.virtualtransaction = any (v_writers));
    if v_try = 120 then
      raise exception 'somebody has been writing to table sent_activity for half a minute, and what he writes may come below what is there'
        using errcode = 'lock_not_available', hint = 'See pg_locks; then run sender migrate again.';
    end if;
    commit;
    perform pg_sleep(0.25);
  end loop;
  update fedsender.feed set horizon = v_highest where horizon = 0;
end
$$;
comment on procedure fedsender.begin_feed() is 'Have the feed begin at the highest id, once no activity can appear below it any more.';

-- Who may only create triggers on a table can't drop them but with their function, which takes all of its triggers along.
create or replace procedure fedsender.drop_triggers()
language plpgsql
as $$
declare
  v_statement text;
  v_gone boolean;
begin
  foreach v_statement in array array(
    select distinct case
      when pg_catalog.pg_has_role(c.relowner, 'usage') then format('drop trigger if exists %I on %s', t.tgname, c.oid::regclass)
      else format('drop function if exists %s cascade', t.tgfoid::regprocedure)
    end
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_class c on c.oid = t.tgrelid
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where p.pronamespace = 'fedsender'::regnamespace and c.relnamespace <> 'fedsender'::regnamespace)
  loop
    v_gone := false;
    for v_try in 1..30 loop
      begin
        perform set_config('lock_timeout', '1s', true);
        perform set_config('client_min_messages', 'warning', true);
        execute v_statement;
        v_gone := true;
      exception when lock_not_available then
        if v_try = 30 then
          raise exception 'somebody holds a lock for half a minute, so a trigger can''t be removed: %', v_statement
            using errcode = 'lock_not_available', hint = 'See pg_locks; then run it again.';
        end if;
      end;
      commit;
      exit when v_gone;
    end loop;
  end loop;
end
$$;
comment on procedure fedsender.drop_triggers() is 'Remove all triggers of this schema from tables of others.';

create or replace view fedsender.source as
select 'lemmy'::text as name,
  to_regclass('public.sent_activity') as activity_table,
  (select min(s.seqcache)
   from pg_attrdef d
   join pg_depend o on o.classid = 'pg_attrdef'::regclass and o.objid = d.oid and o.refclassid = 'pg_class'::regclass
   join pg_sequence s on s.seqrelid = o.refobjid
   where d.adrelid = to_regclass('public.sent_activity')) as sequence_cache,
  '{{ .variant }}'::text as variant,
  fedsender.variant_found() as variant_now,
  not exists (select from fedsender.missing_triggers()) as rings,
  true as stops_on_moved_cursor,
  0 as dead_after_failures,
  false as explicit_ports,
  0 as unauthorized_tries,
  interval '125 seconds' as request_timeout,
  array(select distinct 'public.' || m.relation from fedsender.missing_triggers() m order by 1) as silent_tables,
  false as follows_redirects;
{{ template "common/source_row_comments.sql" . }}
{{ template "common/source_row_comments_2.sql" . }}

create or replace view fedsender.source_right as
select 'public.' || r.relation as relation, r.attribute, r.privilege
from (values
  ('sent_activity', null, 'select'),
  ('instance', null, 'select'),
  ('site', null, 'select'),
  ('local_site', null, 'select'),
  ('person', null, 'select'),
  ('community', null, 'select'),
  ('{{ .followers_table }}', null, 'select'),
  ('federation_allowlist', null, 'select'),
  ('federation_blocklist', null, 'select'),
  ('federation_queue_state', null, 'select'),
  ('federation_queue_state', null, 'insert'),
  ('federation_queue_state', null, 'update'),
  ('instance', '{{ .updated }}', 'update')
) as r(relation, attribute, privilege);
{{ template "common/source_right_comments.sql" . }}

---- create above / drop below ----

drop view if exists fedsender.source_right, fedsender.source;
drop procedure if exists fedsender.drop_triggers(), fedsender.make_triggers(), fedsender.begin_feed();
drop function if exists fedsender.missing_triggers(), fedsender.wanted_triggers();
