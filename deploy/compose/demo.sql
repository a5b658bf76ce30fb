-- What the application of the demo does. Ann has a follower on each of 20 servers.
insert into fedsender.actor (ap_id, key_id, private_key_pem, kind)
values ('https://my.example/users/ann', 'https://my.example/users/ann#main-key', :'pem', 'Person')
on conflict (ap_id) do update set private_key_pem = excluded.private_key_pem;

with server as (
  insert into fedsender.instance (domain, shared_inbox)
  select format('server-%s.example', n), format('http://server-%s.example/inbox', n)
  from generate_series(1, 20) n
  on conflict (domain) do nothing
  returning id, domain, shared_inbox
)
insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox)
select actor.id, format('http://%s/users/bob', server.domain), server.id, server.shared_inbox, server.shared_inbox
from fedsender.actor, server
where actor.ap_id = 'https://my.example/users/ann';

select fedsender.enqueue(
  n.id,
  json_build_object(
    '@context', 'https://www.w3.org/ns/activitystreams', 'id', n.id, 'type', 'Create', 'actor', 'https://my.example/users/ann',
    'object', json_build_object('id', n.id || '/note', 'type', 'Note', 'attributedTo', 'https://my.example/users/ann',
      'content', '<p>Hello, fediverse</p>')),
  'https://my.example/users/ann',
  followers_of => array(select id from fedsender.actor where ap_id = 'https://my.example/users/ann'))
from (select format('https://my.example/notes/%s', gen_random_uuid()) as id) n
\watch i=1 c=60
