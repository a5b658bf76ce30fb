-- The role that sender uses on Lemmy's database, with the rights that it needs and no others. Run it as a superuser, in
-- Lemmy's database, before the first `sender migrate` and again after Lemmy itself was upgraded (a table that came since
-- then is granted too); it may be run as often as you like:
--
--   psql -d lemmy -f role.sql
--   psql -d lemmy -c '\password fedsender'
--
-- With Lemmy's Docker Compose file:
--
--   docker compose exec -T postgres psql -U lemmy -d lemmy < role.sql
--   docker compose exec postgres psql -U lemmy -d lemmy -c '\password fedsender'
--
-- To take it all away again: `sender migrate --down`, then `drop owned by fedsender; drop role fedsender, fedsender_viewer;`.

do $$
declare
  present text;
  seen text;
  ids text := pg_get_serial_sequence('public.sent_activity', 'id');
begin
  if not exists (select from pg_roles where rolname = 'fedsender') then
    create role fedsender login nosuperuser nocreatedb nocreaterole;
  end if;

  -- Who may read the views for dashboards, and nothing else: give it to the logins of yours that look. What it may read,
  -- `sender migrate` says, which may not make roles itself.
  if not exists (select from pg_roles where rolname = 'fedsender_viewer') then
    create role fedsender_viewer nologin;
  end if;

  -- Its own schema.
  execute format('grant connect, create on database %I to fedsender', current_database());
  grant usage on schema public to fedsender;

  -- What is sent, to whom, and with which keys. No other table of Lemmy's can be read: no passwords, no private messages
  -- but those that are on their way to other servers, no addresses of people.
  foreach present in array array['sent_activity', 'instance', 'site', 'local_site', 'person', 'community', 'community_follower',
    'community_actions', 'federation_allowlist', 'federation_blocklist', 'federation_queue_state'] loop
    if to_regclass('public.' || present) is not null then
      execute format('grant select on public.%I to fedsender', present);
      -- News at once. Without this right sender looks for itself: activities every 100 ms, the rest every minute.
      if present <> 'federation_queue_state' then
        execute format('grant trigger on public.%I to fedsender', present);
      end if;
    end if;
  end loop;

  -- Which ids were drawn: whether cursors are beyond the newest activity because rows were deleted or because the table was
  -- restored. It may not draw any.
  if ids is not null then
    execute format('grant select on sequence %s to fedsender', ids);
  end if;

  -- How far each instance is.
  grant insert, update on public.federation_queue_state to fedsender;

  -- That an instance was seen alive: this column and no other of the table.
  select attname into seen
  from pg_attribute
  where attrelid = 'public.instance'::regclass and attname in ('updated', 'updated_at') and not attisdropped;
  execute format('grant update (%I) on public.instance to fedsender', seen);

  -- Which transactions are open, of whatever role: how sender knows that no activity is still to come below an id.
  grant pg_read_all_stats to fedsender;
end
$$;
