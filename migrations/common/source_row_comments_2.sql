comment on column fedsender.source.follows_redirects is 'Whether a delivery that is answered 307 or 308 goes on to where that points; else it failed.';
