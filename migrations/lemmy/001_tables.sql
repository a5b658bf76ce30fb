-- Lemmy keeps activities, followers and cursors in its own tables. Nothing here refers to them: a foreign key would hang
-- triggers on them, and a row that outlives its instance is swept.

{{ template "common/tables.sql" . }}

alter table fedsender.instance_start add from_id bigint not null;
comment on column fedsender.instance_start.from_id is 'Where its cursor begins: the horizon of that moment.';

{{ template "common/balance.sql" . }}

{{ template "common/health_cursor.sql" . }}

{{ template "common/sweep.sql" . }}

-- Tells whose schema this is while it is not finished; see live/40_triggers.sql.
create view fedsender.source as
select 'lemmy'::text as name;

---- create above / drop below ----

drop view if exists fedsender.source;

{{ template "drop common/sweep.sql" . }}

{{ template "drop common/health_cursor.sql" . }}

{{ template "drop common/balance.sql" . }}

{{ template "drop common/tables.sql" . }}
