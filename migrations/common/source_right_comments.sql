comment on view fedsender.source_right is 'What the role of a process must be allowed to do with tables of the application, and the owner of schema fedsender as far as it is reading: sender doctor looks for each.';
comment on column fedsender.source_right.relation is 'The table, with its schema.';
comment on column fedsender.source_right.attribute is 'The column; null: the whole table.';
comment on column fedsender.source_right.privilege is 'The privilege, as in GRANT.';
