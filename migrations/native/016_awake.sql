{{ template "common/awake.sql" . }}

---- create above / drop below ----

{{ template "drop common/awake.sql" . }}
