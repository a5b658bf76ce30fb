{{ template "common/letter_instances.sql" . }}

---- create above / drop below ----

{{ template "drop common/letter_instances.sql" . }}
