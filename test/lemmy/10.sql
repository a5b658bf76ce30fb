-- What Lemmy 1.0 has of the tables that matter to a sender: names, types, constraints, defaults, and the indexes by
-- which they are read. The tables have more columns there.

create type public.actor_type_enum as enum ('site', 'community', 'person');
create type public.community_visibility as enum ('Public', 'LocalOnlyPublic', 'LocalOnlyPrivate', 'Private', 'Unlisted');
create type public.community_follower_state as enum ('Accepted', 'Pending', 'ApprovalRequired');

create table public.instance (
  id serial primary key,
  domain varchar(255) not null unique,
  published_at timestamptz not null default now(),
  updated_at timestamptz,
  software varchar(255),
  version varchar(255)
);

create table public.site (
  id serial primary key,
  name varchar(20) not null,
  ap_id varchar(255) not null unique,
  last_refreshed_at timestamptz not null default now(),
  inbox_url varchar(255) not null,
  private_key text,
  public_key text not null,
  instance_id integer not null unique references public.instance on update cascade on delete cascade,
  published_at timestamptz not null default now(),
  updated_at timestamptz
);

create table public.local_site (
  id serial primary key,
  site_id integer not null unique references public.site on update cascade on delete cascade,
  federation_enabled boolean not null default true,
  published_at timestamptz not null default now(),
  updated_at timestamptz
);

create table public.person (
  id serial primary key,
  name varchar(255) not null,
  ap_id varchar(255) not null unique,
  local boolean not null default true,
  deleted boolean not null default false,
  bio text,
  private_key text,
  public_key text not null,
  inbox_url varchar(255) not null,
  instance_id integer not null references public.instance on update cascade on delete cascade,
  published_at timestamptz not null default now(),
  updated_at timestamptz
);
create unique index idx_person_lower_ap_id on public.person (lower(ap_id));
create index idx_person_local_instance on public.person (local desc, instance_id);

create table public.community (
  id serial primary key,
  name varchar(255) not null,
  ap_id varchar(255) not null unique,
  local boolean not null default true,
  deleted boolean not null default false,
  removed boolean not null default false,
  description text,
  private_key text,
  public_key text not null,
  inbox_url varchar(255) not null,
  instance_id integer not null references public.instance on update cascade on delete cascade,
  visibility public.community_visibility not null default 'Public',
  published_at timestamptz not null default now(),
  updated_at timestamptz
);
create unique index idx_community_lower_ap_id on public.community (lower(ap_id));

create table public.community_actions (
  person_id integer not null references public.person on update cascade on delete cascade,
  community_id integer not null references public.community on update cascade on delete cascade,
  followed_at timestamptz,
  follow_state public.community_follower_state,
  blocked_at timestamptz,
  became_moderator_at timestamptz,
  received_ban_at timestamptz,
  primary key (person_id, community_id)
);
create index idx_community_actions_community on public.community_actions (community_id);

create table public.federation_allowlist (
  instance_id integer primary key references public.instance on update cascade on delete cascade,
  published_at timestamptz not null default now(),
  updated_at timestamptz
);

create table public.federation_blocklist (
  instance_id integer primary key references public.instance on update cascade on delete cascade,
  published_at timestamptz not null default now(),
  updated_at timestamptz,
  expires_at timestamptz
);

create table public.sent_activity (
  id bigserial primary key,
  ap_id text not null unique,
  data json not null,
  sensitive boolean not null,
  published_at timestamptz not null default now(),
  send_inboxes text[] not null,
  send_community_followers_of integer,
  send_all_instances boolean not null,
  actor_type public.actor_type_enum not null,
  actor_apub_id text
);

create table public.federation_queue_state (
  instance_id integer primary key references public.instance,
  last_successful_id bigint,
  fail_count integer not null,
  last_retry_at timestamptz,
  last_successful_published_time_at timestamptz
);
