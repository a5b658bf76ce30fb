-- What Lemmy's migrations from 0.19 to 1.0 do to these tables.

alter table public.instance rename published to published_at;
alter table public.instance rename updated to updated_at;

alter table public.site rename actor_id to ap_id;
alter index public.site_actor_id_key rename to site_ap_id_key;
alter table public.site rename published to published_at;
alter table public.site rename updated to updated_at;

alter table public.local_site rename published to published_at;
alter table public.local_site rename updated to updated_at;

update public.person set inbox_url = shared_inbox_url where shared_inbox_url is not null and not local;
alter table public.person drop column shared_inbox_url, drop column banned;
alter table public.person rename actor_id to ap_id;
alter index public.person_actor_id_key rename to person_ap_id_key;
alter table public.person rename published to published_at;
alter table public.person rename updated to updated_at;
alter index public.idx_person_lower_actor_id rename to idx_person_lower_ap_id;

update public.community set inbox_url = shared_inbox_url where shared_inbox_url is not null and not local;
alter table public.community drop column shared_inbox_url;
alter table public.community rename actor_id to ap_id;
alter index public.community_actor_id_key rename to community_ap_id_key;
alter table public.community rename published to published_at;
alter table public.community rename updated to updated_at;
alter index public.idx_community_lower_actor_id rename to idx_community_lower_ap_id;

alter type public.community_visibility rename to community_visibility_before;
create type public.community_visibility as enum ('Public', 'LocalOnlyPublic', 'LocalOnlyPrivate', 'Private', 'Unlisted');
alter table public.community
  alter column visibility drop default,
  alter column visibility type public.community_visibility
    using (case visibility::text when 'LocalOnly' then 'LocalOnlyPrivate' else visibility::text end)::public.community_visibility,
  alter column visibility set default 'Public';
drop type public.community_visibility_before;

create type public.community_follower_state as enum ('Accepted', 'Pending', 'ApprovalRequired');
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
insert into public.community_actions (person_id, community_id, followed_at, follow_state)
select person_id, community_id, published, (case when pending then 'Pending' else 'Accepted' end)::public.community_follower_state
from public.community_follower;
drop table public.community_follower;
create index idx_community_actions_community on public.community_actions (community_id);

alter table public.federation_allowlist rename published to published_at;
alter table public.federation_allowlist rename updated to updated_at;
alter table public.federation_blocklist rename published to published_at;
alter table public.federation_blocklist rename updated to updated_at;
alter table public.federation_blocklist add column expires_at timestamptz;

alter table public.sent_activity rename published to published_at;

alter table public.federation_queue_state rename last_retry to last_retry_at;
alter table public.federation_queue_state rename last_successful_published_time to last_successful_published_time_at;
