-- What the processes and operators call.

{{ template "common/bells.sql" . }}

{{ template "common/awake.sql" . }}
{{ template "common/controls.sql" . }}
{{ template "common/own_cursors.sql" . }}
{{ template "common/cursors.sql" . }}
{{ template "common/retry_dead_letter.sql" . }}

create function fedsender.enqueue(
  ap_id text,
  data json,
  actor_ap_id text,
  inboxes text[] default '{}',
  followers_of bigint[] default '{}',
  all_instances boolean default false
) returns bigint
language plpgsql
as $$
begin
  raise exception 'Quill writes its letters itself' using errcode = 'feature_not_supported', hint = 'Insert into quill.letter.';
end
$$;
comment on function fedsender.enqueue(text, json, text, text[], bigint[], boolean) is 'Raises: Quill inserts into quill.letter.';

create function fedsender.adopt_instances(domains text[]) returns setof integer
language sql
begin atomic
  insert into quill.peer (host)
  select d.host
  from unnest(domains) as d(host)
  where not exists (select from quill.peer p where lower(p.host) = d.host)
  on conflict (host) do nothing
  returning peer_no;
end;
comment on function fedsender.adopt_instances(text[]) is 'Make the rows of domains that an inbox named; returns the ids that are new.';

create function fedsender.prune(retention interval, out lowest bigint, out deleted bigint)
language plpgsql
as $$
declare
  v_ended xid8;
begin
  select coalesce(min(q.last_successful_id), 0)
  into lowest
  from fedsender.source_queue_state q;
  {{ template "common/prune_body.sql" . }}
end
$$;
comment on function fedsender.prune(interval) is 'Delete what nobody needs any more. Letters stay: Quill shows them. Returns the lowest cursor and 0.';

---- create above / drop below ----

drop function fedsender.prune(interval), fedsender.adopt_instances(text[]),
  fedsender.enqueue(text, json, text, text[], bigint[], boolean);
{{ template "drop common/retry_dead_letter.sql" . }}
{{ template "drop common/cursors.sql" . }}
{{ template "drop common/own_cursors.sql" . }}
{{ template "drop common/controls.sql" . }}
{{ template "drop common/awake.sql" . }}
{{ template "drop common/bells.sql" . }}
