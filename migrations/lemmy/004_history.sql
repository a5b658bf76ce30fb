{{ template "common/history.sql" . }}

---- create above / drop below ----

{{ template "drop common/history.sql" . }}
