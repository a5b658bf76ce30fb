create or replace view fedsender.queue_summary as
with instances as (
  select count(*) as number,
    count(*) filter (where state = 'ok') as ok,
    count(*) filter (where state = 'lagging') as lagging,
    count(*) filter (where state = 'failing') as failing,
    count(*) filter (where state = 'paused') as paused,
    count(*) filter (where state = 'dead') as dead,
    count(*) filter (where state = 'blocked') as blocked,
    coalesce(sum(ids_behind) filter (where state in ('ok', 'lagging', 'failing')), 0)::bigint as ids_behind,
    -- What is told of an instance that is ok or lagging to be tried again at is the end of the pause that it asked for.
    coalesce(max(lag) filter (where state in ('ok', 'lagging') and next_retry_at is null), '0') as oldest_lag,
    count(*) filter (where state in ('ok', 'lagging') and next_retry_at is not null) as throttled
  from fedsender.instance_status
)
select i.number as instances, i.ok, i.lagging, i.failing, i.paused, i.dead, i.blocked,
  a.number as activities, a.highest_id, coalesce((select f.horizon from fedsender.feed f), 0) as horizon,
  i.ids_behind, i.oldest_lag,
  (select count(*) from fedsender.dead_letter) as dead_letters,
  (select count(distinct p.id) from pg_stat_activity s
   join fedsender.process p on s.application_name like 'fedsender:%' and p.id = split_part(s.application_name, ':', 2)) as processes,
  (select count(*) from fedsender.redelivery) as redeliveries,
  i.throttled
from instances i,
  (select coalesce(s.highest - s.lowest + 1, 0) as number, coalesce(s.highest, 0) as highest_id from {{ if index . "reads_by_functions" }}fedsender.shown_ids(){{ else }}({{ template "common/shown_ids.sql" . }}){{ end }} s) a;
comment on view fedsender.queue_summary is 'The whole queue in one row. Does not read pg_locks.';
comment on column fedsender.queue_summary.instances is 'All of them; the next six add up to it.';
comment on column fedsender.queue_summary.ok is 'Instances in this state; see instance_status.';
comment on column fedsender.queue_summary.lagging is 'Instances in this state.';
comment on column fedsender.queue_summary.failing is 'Instances in this state.';
comment on column fedsender.queue_summary.paused is 'Instances in this state.';
comment on column fedsender.queue_summary.dead is 'Instances in this state.';
comment on column fedsender.queue_summary.blocked is 'Instances in this state.';
comment on column fedsender.queue_summary.activities is 'Ids from the oldest to the newest activity, holes included.';
comment on column fedsender.queue_summary.highest_id is 'The newest activity.';
comment on column fedsender.queue_summary.horizon is 'No activity up to this id can appear any more. Far below highest_id for long: no process runs, or a transaction that writes activities stays open.';
comment on column fedsender.queue_summary.ids_behind is 'Summed over the instances that are ok, lagging or failing.';
comment on column fedsender.queue_summary.oldest_lag is 'The longest lag of those that are ok or lagging and have not asked for a pause.';
comment on column fedsender.queue_summary.dead_letters is 'Rows in dead_letter.';
comment on column fedsender.queue_summary.processes is 'Processes that live.';
comment on column fedsender.queue_summary.redeliveries is 'Dead letters that were retried and wait to be sent again.';
comment on column fedsender.queue_summary.throttled is 'Of the instances that are ok or lagging: those that asked for a pause (429, or 503 with Retry-After), which is until their next_retry_at.';

---- create above / drop below ----

drop view if exists fedsender.queue_summary;
