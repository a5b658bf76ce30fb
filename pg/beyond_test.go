package pg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestReadBeyond_TellsARestoreFromRowsThatWereDeleted(t *testing.T) {
	owner := withFollowers(t)
	for range 3 {
		execute(t, owner, `insert into fedsender.activity (ap_id, data, actor_id) values (gen_random_uuid()::text, '{}', 1)`)
	}
	execute(t, owner, `update fedsender.queue_state set last_successful_id = 3`)
	other := role(t, owner, "sender")
	execute(t, owner, `grant usage on schema fedsender to `+other.Config().User)
	execute(t, owner, `grant select on all tables in schema fedsender to `+other.Config().User)
	execute(t, owner, `revoke all on sequence fedsender.activity_id_seq from `+other.Config().User)
	look := func(q pg.Querier) pg.Beyond {
		b, err := pg.ReadBeyond(t.Context(), q)
		require.NoError(t, err)
		return b
	}
	require.Zero(t, look(owner).Count)

	execute(t, owner, `delete from fedsender.activity where id > 1`)
	require.Zero(t, look(owner).Count, "the next id is 4")
	b := look(other)
	require.Equal(t, pg.Beyond{Newest: 1, Count: 2, Domains: []string{"one.example", "two.example"}}, b)
	require.Contains(t, b.String(), "deleted its newest rows")
	require.Contains(t, b.String(), "older backup")

	execute(t, owner, `select setval('fedsender.activity_id_seq', 1)`)
	b = look(owner)
	require.Equal(t, pg.Beyond{Newest: 1, Drawn: true, Count: 2, Domains: []string{"one.example", "two.example"}}, b)
	require.NotContains(t, b.String(), "deleted")
}

func TestFederationOff_IsAnAllowListOfNobody(t *testing.T) {
	owner := withFollowers(t)
	config := owner.Config()
	off := func() bool {
		is, err := pg.FederationOff(t.Context(), owner)
		require.NoError(t, err)
		return is
	}
	require.False(t, off())
	execute(t, owner, `insert into fedsender.domain_allow (domain) values ('one.example')`)
	require.False(t, off())
	// As an adapter's view has it; this table takes names only.
	execute(t, owner, `alter table fedsender.domain_allow drop constraint domain_is_a_name; update fedsender.domain_allow set domain = '.'`)
	require.True(t, off())
	found := finding(t, config, "federation")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	execute(t, owner, `insert into fedsender.domain_allow (domain) values ('one.example')`)
	require.False(t, off())
	execute(t, owner, `update fedsender.domain_allow set expires_at = now() - interval '1 s'`)
	require.False(t, off())
	require.Empty(t, finding(t, config, "federation"))
}
