select to_regclass('public.sent_activity') is not null
  and to_regclass('public.federation_queue_state') is not null
  and to_regclass('public.local_site') is not null
