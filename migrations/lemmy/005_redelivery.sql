{{ template "common/redelivery.sql" . }}

---- create above / drop below ----

{{ template "drop common/redelivery.sql" . }}
