-- What the views mean that every source has.

comment on view fedsender.source_activity is 'Activities as they are sent: body is the very text; key_id overrides the actor''s.';
comment on column fedsender.source_activity.id is 'The order of sending; drawn inside the INSERT.';
comment on column fedsender.source_activity.ap_id is 'Its ActivityPub id.';
comment on column fedsender.source_activity.body is 'The text that is sent.';
comment on column fedsender.source_activity.actor_id is 'Who signs: source_actor.id.';
comment on column fedsender.source_activity.key_id is 'The keyId of the signature; what begins with #: that, behind the id of the actor that the text names; null: the actor''s.';
comment on column fedsender.source_activity.published_at is 'When it was made.';
comment on column fedsender.source_activity.send_inboxes is 'Inboxes to send to, as a set with the other two.';
comment on column fedsender.source_activity.send_followers_of is 'Actors whose followers get it.';
comment on column fedsender.source_activity.send_all_instances is 'Send to the shared inbox of every instance.';
comment on column fedsender.source_activity.xid is 'The transaction that inserted it.';

comment on view fedsender.source_instance is 'Remote servers.';
comment on column fedsender.source_instance.id is 'Its id.';
comment on column fedsender.source_instance.domain is 'Lower case, IDN in punycode, with :port if it is not the default one.';
comment on column fedsender.source_instance.shared_inbox is 'Where send_all_instances goes; null: nowhere.';
comment on column fedsender.source_instance.created_at is 'When the row was made.';
comment on column fedsender.source_instance.last_seen_at is 'Its last sign of life; null: none.';

comment on view fedsender.source_follower is 'Whose followers are where, and the inbox that reaches them.';
comment on column fedsender.source_follower.actor_id is 'Who is followed.';
comment on column fedsender.source_follower.instance_id is 'Where followers are.';
comment on column fedsender.source_follower.inbox is 'What reaches them there; one row for each follower, so with repetitions.';
comment on column fedsender.source_follower.is_shared is 'Whether that is a shared inbox.';

comment on view fedsender.source_actor is 'Who signs.';
comment on column fedsender.source_actor.id is 'Its id.';
comment on column fedsender.source_actor.ap_id is 'Its ActivityPub id.';
comment on column fedsender.source_actor.key_id is 'The keyId of its signatures.';
comment on column fedsender.source_actor.private_key_pem is 'RSA private key, PKCS#8 or PKCS#1 PEM; null: none.';

comment on view fedsender.source_domain_list is 'Allowed and blocked domains.';
comment on column fedsender.source_domain_list.list is 'allow or block.';
comment on column fedsender.source_domain_list.domain is 'Lower case.';
comment on column fedsender.source_domain_list.expires_at is 'From then on it is as if the row were not there; null: never.';

comment on view fedsender.source_queue_state is 'All that a new holder needs to go on with an instance.';
comment on column fedsender.source_queue_state.instance_id is 'Whose.';
comment on column fedsender.source_queue_state.last_successful_id is 'The cursor.';
comment on column fedsender.source_queue_state.fail_count is 'As in {{ .queue_state_name }}.';
comment on column fedsender.source_queue_state.last_retry_at is 'As in {{ .queue_state_name }}.';
comment on column fedsender.source_queue_state.last_successful_published_at is 'As in {{ .queue_state_name }}.';
comment on column fedsender.source_queue_state.not_before is 'As in instance_health.';
comment on column fedsender.source_queue_state.throttles is 'As in instance_health.';
comment on column fedsender.source_queue_state.gone_at is 'As in instance_health.';
comment on column fedsender.source_queue_state.gone is 'As in instance_health.';
comment on column fedsender.source_queue_state.last_success_at is 'As in instance_health.';
comment on column fedsender.source_queue_state.last_error is 'As in instance_health.';
comment on column fedsender.source_queue_state.last_http_status is 'As in instance_health.';
comment on column fedsender.source_queue_state.last_error_at is 'As in instance_health.';
comment on column fedsender.source_queue_state.ahead_id is 'As in instance_health; 0 where the cursor was set back since.';
comment on column fedsender.source_queue_state.held is 'As in instance_health.';
comment on column fedsender.source_queue_state.paused_until is 'As in instance_control.';
comment on column fedsender.source_queue_state.max_in_flight is 'As in instance_control.';
comment on column fedsender.source_queue_state.start_snapshot is 'As in instance_start; null: nothing older lies before the cursor.';
comment on column fedsender.source_queue_state.start_xid is 'As in instance_start.';
comment on column fedsender.source_queue_state.start_until_id is 'As in instance_start.';
