{{ template "common/balance.sql" . }}

---- create above / drop below ----

{{ template "drop common/balance.sql" . }}
