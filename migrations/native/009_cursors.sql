{{ template "common/cursors.sql" . }}

---- create above / drop below ----

-- 007 drops the other one.
drop function fedsender.save_checkpoints(jsonb);
