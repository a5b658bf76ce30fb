{{ template "common/letter_instances.sql" . }}

{{ template "common/retry_dead_letter.sql" . }}

---- create above / drop below ----

{{ template "drop common/retry_dead_letter.sql" . }}
-- Before, nothing knows instance_ids.
delete from fedsender.dead_letter where instance_ids is not null and instance_id is null;
{{ template "drop common/letter_instances.sql" . }}
