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
