-- The tables of Quill, a server for newsletters that does not exist, as its own migrations make them.

create schema quill;

create table quill.author (
  author_no bigint generated always as identity primary key,
  url text not null unique,
  secret_key text
);

create table quill.peer (
  peer_no integer generated always as identity primary key,
  host text not null unique,
  common_inbox text,
  met_at timestamptz not null default now(),
  heard_at timestamptz
);

create table quill.subscriber (
  author_no bigint not null references quill.author,
  url text not null,
  peer_no integer not null references quill.peer,
  own_inbox text not null,
  common_inbox text,
  primary key (author_no, url)
);
create index on quill.subscriber (author_no, peer_no);

create table quill.letter (
  letter_no bigint generated always as identity primary key,
  url text not null unique,
  author_no bigint not null references quill.author,
  document json not null,
  written_at timestamptz not null default now(),
  to_subscribers boolean not null default false,
  to_everyone boolean not null default false,
  also_to text[] not null default '{}'
);

create table quill.shunned (
  host text primary key,
  shunned_until timestamptz
);
