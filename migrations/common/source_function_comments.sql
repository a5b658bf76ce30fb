comment on function fedsender.actor_of(bigint) is 'The row of source_actor that signs this activity; none where it is missing.';
comment on function fedsender.followers_of(bigint[], integer[]) is 'The rows of source_follower of these pairs of an actor and an instance, each once.';
