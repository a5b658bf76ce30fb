alter table fedsender.instance_health add cursor_id bigint;
comment on column fedsender.instance_health.cursor_id is 'The cursor that was saved with this; null: none.';

---- create above / drop below ----

alter table fedsender.instance_health drop cursor_id;
