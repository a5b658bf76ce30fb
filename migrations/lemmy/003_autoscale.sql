{{ template "common/autoscale.sql" . }}

---- create above / drop below ----

{{ template "drop common/autoscale.sql" . }}
