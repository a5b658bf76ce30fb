-- Cursors are written for many instances at a time. A row that somebody keeps locked, in a transaction that was left open for
-- instance, is passed over, or nothing could be written for any of them.

create or replace function fedsender.save_checkpoints(rows jsonb) returns setof integer
language sql
{{ .begin_body }}
  with v as materialized (
    select *
    from jsonb_to_recordset(rows) as r(
      instance_id integer, expected bigint, cursor_id bigint, published_at timestamptz,
      fail_count integer, last_retry_at timestamptz, not_before timestamptz, throttles integer,
      gone_at timestamptz[], gone boolean, last_success_at timestamptz, last_error text,
      last_http_status integer, last_error_at timestamptz, ahead_id bigint, held jsonb)
  ), known as materialized (
    select v.instance_id
    from v
    join {{ .queue_state }} q using (instance_id)
    join fedsender.instance_health h using (instance_id)
    where q.last_successful_id = v.expected and v.cursor_id >= v.expected
    for no key update of q, h skip locked
  ), fresh as materialized (
    {{- if .references_instance }}
    -- A row that is made for them refers to the instance.
    {{- end }}
    select v.instance_id
    from v
    join {{ .queue_state }} q using (instance_id)
    {{- if .references_instance }}
    join {{ .instances }} i on i.id = v.instance_id
    {{- end }}
    where q.last_successful_id = v.expected and v.cursor_id >= v.expected
      and not exists (select from fedsender.instance_health h where h.instance_id = v.instance_id)
    for no key update of q skip locked
    {{- if .references_instance }}
    for key share of i skip locked
    {{- end }}
  ), free as (
    select instance_id from known
    union all
    select instance_id from fresh
  ), moved as (
    update {{ .queue_state }} q
    set last_successful_id = v.cursor_id,
        fail_count = coalesce(v.fail_count, 0),
        {{ .last_retry }} = v.last_retry_at,
        {{ .last_published }} = coalesce(v.published_at, q.{{ .last_published }})
    from v
    join free using (instance_id)
    where q.instance_id = v.instance_id
    returning q.instance_id
  ), health as (
    insert into fedsender.instance_health as h
      (instance_id, not_before, throttles, gone_at, gone, last_success_at, last_error, last_http_status, last_error_at, ahead_id, held,
       cursor_id)
    select v.instance_id, v.not_before, coalesce(v.throttles, 0), coalesce(v.gone_at, '{}'), coalesce(v.gone, false), v.last_success_at,
      v.last_error, v.last_http_status, v.last_error_at, coalesce(v.ahead_id, 0), coalesce(v.held, '[]'), v.cursor_id
    from v join moved using (instance_id)
    on conflict (instance_id) do update
    set not_before = excluded.not_before, throttles = excluded.throttles, gone_at = excluded.gone_at,
        gone = excluded.gone, last_success_at = excluded.last_success_at, last_error = excluded.last_error,
        last_http_status = excluded.last_http_status, last_error_at = excluded.last_error_at,
        ahead_id = excluded.ahead_id, held = excluded.held, cursor_id = excluded.cursor_id
  ), alive as (
    -- Skipping spares a deadlock with who deletes the instance and its cursor.
    update {{ .instances }} i
    set {{ .seen }} = due.last_success_at
    from (
      select o.id, v.last_success_at
      from v
      join moved using (instance_id)
      join {{ .instances }} o on o.id = v.instance_id
      where {{ .seen_is_old }}
      for no key update of o skip locked
    ) due
    where i.id = due.id
  )
  select instance_id from moved;
{{ .end_body }};
comment on function fedsender.save_checkpoints(jsonb) is
  'Write cursors, never backwards, where the last written value still stands; returns those instances. One that is missing was moved by somebody else, or is locked, or gone.';

create or replace function fedsender.pass_cursors(instance_ids integer[], expected bigint[], cursor_id bigint, published_at timestamptz) returns setof integer
language sql
{{ .begin_body }}
  with free as materialized (
    select q.instance_id
    from unnest(pass_cursors.instance_ids, pass_cursors.expected) as v(instance_id, expected)
    join {{ .queue_state }} q using (instance_id)
    where q.last_successful_id = v.expected and pass_cursors.cursor_id >= v.expected
    for no key update of q skip locked
  )
  update {{ .queue_state }} q
  set last_successful_id = pass_cursors.cursor_id,
      {{ .last_published }} = coalesce(pass_cursors.published_at, q.{{ .last_published }})
  from free
  where q.instance_id = free.instance_id
  returning q.instance_id;
{{ .end_body }};
comment on function fedsender.pass_cursors(integer[], bigint[], bigint, timestamptz) is
  'Write one cursor for instances of which nothing else changed, never backwards, where the last written value still stands; returns those instances.';

---- create above / drop below ----

drop function if exists fedsender.pass_cursors(integer[], bigint[], bigint, timestamptz), fedsender.save_checkpoints(jsonb);
