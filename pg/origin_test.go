package pg_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

func TestReadSource_ReadsAllInWhichSourcesDiffer(t *testing.T) {
	conn := migrated(t)
	native, err := pg.ReadSource(t.Context(), conn)
	require.NoError(t, err)
	assert.Equal(t, pg.Source{
		Name: "native", ActivityTable: "fedsender.activity", SequenceCache: 1, PreparesTransactions: native.PreparesTransactions,
		Rings: true, SilentTables: []string{}, DeadAfterFailures: 20, ExplicitPorts: true, UnauthorizedTries: 6, FollowsRedirects: true,
	}, native)

	execute(t, conn, fleet.Source(map[string]string{
		"name": `'other'::text`, "rings": "false", "stops_on_moved_cursor": "true", "dead_after_failures": "0",
		"explicit_ports": "false", "unauthorized_tries": "0", "request_timeout": "interval '2 minutes 5 s'",
		"silent_tables": `array['public.outbox']`, "follows_redirects": "false",
	}))
	other, err := pg.ReadSource(t.Context(), conn)
	require.NoError(t, err)
	assert.Equal(t, pg.Source{
		Name: "other", ActivityTable: "fedsender.activity", SequenceCache: 1, PreparesTransactions: native.PreparesTransactions,
		SilentTables: []string{"public.outbox"}, StopsOnMovedCursor: true, RequestTimeout: 125 * time.Second,
	}, other)
}

func TestReadSource_RefusesIdsThatCouldLoseActivities(t *testing.T) {
	conn := migrated(t)
	for value, words := range map[string]string{"20::bigint": "CACHE 20", "null::bigint": "no sequence"} {
		execute(t, conn, fleet.Source(map[string]string{"sequence_cache": value}))
		_, err := pg.ReadSource(t.Context(), conn)
		assert.ErrorContains(t, err, words)
	}
}

func TestReadActor_TellsAnActorThatIsMissingFromAnActivityThatIsGone(t *testing.T) {
	conn := withFollowers(t)
	execute(t, conn, insertOne)
	execute(t, conn, `update fedsender.actor set private_key_pem = 'pem'`)
	id := value[int64](t, conn, `select id from fedsender.activity`)
	actor, gone, err := pg.ReadActor(t.Context(), conn, id)
	require.NoError(t, err)
	assert.False(t, gone)
	assert.True(t, actor.Found)
	assert.NotEmpty(t, actor.KeyID)
	assert.Equal(t, "pem", actor.PrivateKeyPEM)

	execute(t, conn, `
		create or replace function fedsender.actor_of(activity_id bigint) returns table (id bigint, ap_id text, key_id text, private_key_pem text)
		language sql stable as $$ select 1::bigint, '', '', '' where false $$`)
	actor, gone, err = pg.ReadActor(t.Context(), conn, id)
	require.NoError(t, err)
	assert.False(t, gone)
	assert.False(t, actor.Found)

	execute(t, conn, `delete from fedsender.activity`)
	_, gone, err = pg.ReadActor(t.Context(), conn, id)
	require.NoError(t, err)
	assert.True(t, gone)
}

func TestInstanceStatus_DeadIsBySilenceAloneWhereTheSourceSaysSo(t *testing.T) {
	conn := migrated(t)
	execute(t, conn, `insert into fedsender.instance (domain, created_at) values ('quiet.example', now() - interval '4 days')`)
	state := func() string { return value[string](t, conn, `select state from fedsender.instance_status`) }
	assert.Equal(t, "ok", state())
	execute(t, conn, fleet.Source(map[string]string{"dead_after_failures": "0"}))
	assert.Equal(t, "dead", state())
}
