-- Most cursors move only because nothing was meant for their instances: one value for all, and nothing of their health.
create function fedsender.pass_cursors(instance_ids integer[], expected bigint[], cursor_id bigint, published_at timestamptz) returns setof integer
language sql
begin atomic
  update fedsender.queue_state q
  set last_successful_id = pass_cursors.cursor_id,
      last_successful_published_at = coalesce(pass_cursors.published_at, q.last_successful_published_at)
  from unnest(pass_cursors.instance_ids, pass_cursors.expected) as v(instance_id, expected)
  where q.instance_id = v.instance_id and q.last_successful_id = v.expected and pass_cursors.cursor_id >= v.expected
  returning q.instance_id;
end;
comment on function fedsender.pass_cursors(integer[], bigint[], bigint, timestamptz) is
  'Write one cursor for instances of which nothing else changed, never backwards, where the last written value still stands; returns those instances.';

---- create above / drop below ----

drop function fedsender.pass_cursors(integer[], bigint[], bigint, timestamptz);
