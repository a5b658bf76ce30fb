-- What sender keeps for itself, the cursors included.

{{ template "common/cursor_table.sql" . }}

{{ template "common/tables.sql" . }}

{{ template "common/health_cursor.sql" . }}

{{ template "common/balance.sql" . }}

{{ template "common/autoscale.sql" . }}

{{ template "common/sweep.sql" . }}

{{ template "common/history.sql" . }}

{{ template "common/redelivery.sql" . }}

{{ template "common/letter_instances.sql" . }}

---- create above / drop below ----

{{ template "drop common/letter_instances.sql" . }}
{{ template "drop common/redelivery.sql" . }}
{{ template "drop common/history.sql" . }}
{{ template "drop common/sweep.sql" . }}
{{ template "drop common/autoscale.sql" . }}
{{ template "drop common/balance.sql" . }}
{{ template "drop common/health_cursor.sql" . }}
{{ template "drop common/tables.sql" . }}
{{ template "drop common/cursor_table.sql" . }}
