comment on column fedsender.source_activity.traceparent is 'The trace of the application that it belongs to, in the form of W3C Trace Context; null: none.';
