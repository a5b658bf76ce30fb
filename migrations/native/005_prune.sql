-- Old rows that nobody needs any more. Every process calls this every few minutes; one at a time does the work.

{{ template "common/sweep.sql" . }}

---- create above / drop below ----

drop function if exists fedsender.prune(interval); -- which was made here once
{{ template "drop common/sweep.sql" . }}
