-- How far each instance is and what went wrong there, and what processes tell each other.

create table fedsender.instance_health (
  instance_id integer primary key{{ .references_instance }},
  not_before timestamptz,
  throttles integer not null default 0,
  gone_at timestamptz[] not null default '{}',
  gone boolean not null default false,
  last_success_at timestamptz,
  last_error text,
  last_http_status integer,
  last_error_at timestamptz,
  ahead_id bigint not null default 0,
  held jsonb not null default '[]'
) with (fillfactor = 60);
comment on table fedsender.instance_health is 'What a new holder needs besides the cursor, and what an operator asks.';
comment on column fedsender.instance_health.instance_id is 'Whose.';
comment on column fedsender.instance_health.not_before is 'The instance said 429, or 503 with Retry-After: nothing is sent before this.';
comment on column fedsender.instance_health.throttles is 'How often in a row it said 429 without a Retry-After: 60 s doubling to 1 h.';
comment on column fedsender.instance_health.gone_at is 'When its shared inbox answered 410 or 418; three in 24 h make it dead.';
comment on column fedsender.instance_health.gone is 'Its shared inbox is gone: dead until a success or a sign of life.';
comment on column fedsender.instance_health.last_success_at is 'Its last 2xx.';
comment on column fedsender.instance_health.last_error is 'What went wrong last, in a sentence; kept after a success.';
comment on column fedsender.instance_health.last_http_status is 'The HTTP status of that; null: there was no answer.';
comment on column fedsender.instance_health.last_error_at is 'When that was.';
comment on column fedsender.instance_health.ahead_id is 'Every id up to here is settled but those in held: what a new holder need not send again.';
comment on column fedsender.instance_health.held is 'Activities up to ahead_id that are not settled: [{id, attempts, first_failed, done}].';

create table fedsender.instance_start (
  instance_id integer primary key{{ .references_instance }},
  snapshot pg_snapshot not null,
  xid xid8 not null,
  until_id bigint not null
);
comment on table fedsender.instance_start is 'What was committed when the instance row was made: activities that this snapshot sees are older and not sent. Of no use once the cursor has passed until_id.';
comment on column fedsender.instance_start.instance_id is 'Whose.';
comment on column fedsender.instance_start.snapshot is 'What was committed then.';
comment on column fedsender.instance_start.xid is 'The transaction that made the row; its own activities are sent.';
comment on column fedsender.instance_start.until_id is 'The highest id that was there: above it nothing is older.';

create table fedsender.instance_control (
  instance_id integer primary key{{ .references_instance }},
  paused_until timestamptz,
  max_in_flight integer check (max_in_flight between 1 and 1000),
  note text
);
comment on table fedsender.instance_control is 'What the operator wants of one instance.';
comment on column fedsender.instance_control.instance_id is 'Whose.';
comment on column fedsender.instance_control.paused_until is 'Nothing is sent before this; ''infinity'' until resumed. The cursor stands still.';
comment on column fedsender.instance_control.max_in_flight is 'Deliveries at one time, at most; null: the process''s own limit.';
comment on column fedsender.instance_control.note is 'For people.';

create table fedsender.dead_letter (
  id bigint generated always as identity primary key,
  activity_id bigint not null,
  instance_id integer{{ .references_instance }},
  inbox text,
  reason text not null,
  http_status integer,
  attempts integer not null default 0,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now()
);
create unique index dead_letter_once on fedsender.dead_letter (activity_id, coalesce(instance_id, 0), md5(coalesce(inbox, '')));
create index dead_letter_instance on fedsender.dead_letter (instance_id);
create index dead_letter_last on fedsender.dead_letter (last_at);
comment on table fedsender.dead_letter is 'Deliveries that were given up, each with its reason: sender dead-letters list|retry|drop.';
comment on column fedsender.dead_letter.id is 'What retry_dead_letter and drop_dead_letter take.';
comment on column fedsender.dead_letter.activity_id is 'The activity; it may have been deleted since.';
comment on column fedsender.dead_letter.instance_id is 'Null: the activity could not be prepared for anybody, or the inbox names no server.';
comment on column fedsender.dead_letter.inbox is 'Null: all inboxes of the activity.';
comment on column fedsender.dead_letter.reason is 'Why, in a sentence.';
comment on column fedsender.dead_letter.http_status is 'Of the last answer; null: there was none.';
comment on column fedsender.dead_letter.attempts is 'Tries before it was given up; 0 where none was possible.';
comment on column fedsender.dead_letter.first_at is 'The first failure.';
comment on column fedsender.dead_letter.last_at is 'The last failure.';

create table fedsender.redelivery (
  instance_id integer not null{{ .references_instance }},
  activity_id bigint not null,
  inbox text not null,
  requested_at timestamptz not null default now(),
  primary key (instance_id, activity_id)
);
comment on table fedsender.redelivery is 'Dead letters to try again, outside the order of the cursor. Gone when settled.';
comment on column fedsender.redelivery.instance_id is 'Where to.';
comment on column fedsender.redelivery.activity_id is 'What.';
comment on column fedsender.redelivery.inbox is 'Empty: all inboxes of the activity there.';
comment on column fedsender.redelivery.requested_at is 'When an operator asked for it.';

-- No foreign key: it would make an unfollow wait for, and fail on, an instance that is being deleted.
create table fedsender.follower_tombstone (
  actor_id bigint not null,
  instance_id integer not null,
  inbox text not null,
  is_shared boolean not null,
  through_id bigint not null,
  xid xid8 not null default pg_current_xact_id(),
  removed_at timestamptz not null default now()
);
create index follower_tombstone_xid on fedsender.follower_tombstone (xid);
comment on table fedsender.follower_tombstone is 'Removed followers: they still get the activities up to through_id, which were committed before they left.';
comment on column fedsender.follower_tombstone.actor_id is 'Who was followed.';
comment on column fedsender.follower_tombstone.instance_id is 'The follower''s server; it may be gone too.';
comment on column fedsender.follower_tombstone.inbox is 'The inbox that reached the follower.';
comment on column fedsender.follower_tombstone.is_shared is 'Whether that was the shared one.';
comment on column fedsender.follower_tombstone.through_id is 'The highest activity that was visible then.';
comment on column fedsender.follower_tombstone.xid is 'The transaction that removed it.';
comment on column fedsender.follower_tombstone.removed_at is 'When; old ones are swept.';

create table fedsender.change (
  xid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default now(),
  kind text not null,
  actor_id bigint,
  instance_id integer
);
create index change_xid on fedsender.change (xid);
comment on table fedsender.change is 'What changed beside activities. Processes read what is visible in this snapshot and was not in their last one, so no late commit is missed.';
comment on column fedsender.change.xid is 'The transaction that changed it.';
comment on column fedsender.change.at is 'When; old ones are swept.';
comment on column fedsender.change.kind is 'follower, instance, actor (with their ids), control, cursor, retry, redelivery (with the instance''s); list; followers, instances, actors: too many to name, read all again.';
comment on column fedsender.change.actor_id is 'Whose followers, or which actor.';
comment on column fedsender.change.instance_id is 'Where.';

create table fedsender.doorbell (
  armed boolean not null default false,
  one boolean primary key default true check (one)
);
insert into fedsender.doorbell default values;
comment on table fedsender.doorbell is 'One row, read by every INSERT of activities.';
comment on column fedsender.doorbell.armed is 'A process sleeps and wants a NOTIFY for the next activity.';
comment on column fedsender.doorbell.one is 'Keeps it one row.';

create table fedsender.feed (
  horizon bigint not null default 0,
  one boolean primary key default true check (one)
) with (fillfactor = 50);
insert into fedsender.feed default values;
comment on table fedsender.feed is 'One row: how far activities are known to be complete.';
comment on column fedsender.feed.horizon is 'No activity with an id up to this can appear any more, and every domain that one of them names has its instance row.';
comment on column fedsender.feed.one is 'Keeps it one row.';

create table fedsender.process (
  id text primary key,
  name text not null,
  address text not null,
  version text not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  in_flight integer not null default 0,
  delivered_per_s real not null default 0
);
comment on table fedsender.process is 'What each process says of itself; who is really alive is told by its session (view process_status).';
comment on column fedsender.process.id is 'Drawn at its start; its lease session is called fedsender:<id>.';
comment on column fedsender.process.name is 'SENDER_NAME.';
comment on column fedsender.process.address is 'SENDER_ADMIN_ADDR, with the name of the host where that is any address; empty: off.';
comment on column fedsender.process.version is 'Of sender.';
comment on column fedsender.process.started_at is 'When it started.';
comment on column fedsender.process.seen_at is 'When it wrote this row.';
comment on column fedsender.process.in_flight is 'Deliveries under way then.';
comment on column fedsender.process.delivered_per_s is 'Deliveries a second before that.';

---- create above / drop below ----

drop table fedsender.process, fedsender.feed, fedsender.doorbell, fedsender.change, fedsender.follower_tombstone,
  fedsender.redelivery, fedsender.dead_letter, fedsender.instance_control, fedsender.instance_start,
  fedsender.instance_health;
