package pg_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

func TestDiagnose_TriggersThatAreMissingAndTheGrantThatMendsIt(t *testing.T) {
	owner := migrated(t)
	config := owner.Config()
	require.Equal(t, pg.OK, finding(t, config, "triggers")[0].Verdict)

	execute(t, owner, `create table public.outbox (); create table public."Odd" ()`)
	execute(t, owner, fleet.Source(map[string]string{"rings": "false", "silent_tables": `array['public.outbox', 'public."Odd"']`}))
	found := finding(t, config, "triggers")
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Says, `public.outbox, public."Odd"`)
	require.Equal(t, "run: sender migrate", found[0].Mend, "who migrates may make them")

	name := role(t, owner, "migrator").Config().User
	execute(t, owner, `alter schema fedsender owner to `+name)
	require.Equal(t, `grant trigger on public.outbox, public."Odd" to `+name+`; then run: sender migrate`, finding(t, config, "triggers")[0].Mend)
	execute(t, owner, `grant trigger on public.outbox, public."Odd" to `+name)
	require.Equal(t, "run: sender migrate", finding(t, config, "triggers")[0].Mend)
}

func TestDiagnose_InstancesThatArePausedBecauseAnotherProgramMovedTheirCursor(t *testing.T) {
	owner := withFollowers(t)
	config := owner.Config()
	require.Empty(t, finding(t, config, "moved cursors"))
	id := value[int32](t, owner, `select min(id) from fedsender.instance`)
	domain := value[string](t, owner, `select domain from fedsender.instance where id = $1`, id)
	execute(t, owner, `update fedsender.queue_state set last_successful_id = 3; update fedsender.instance_health set ahead_id = 9, held = '[{"id": 4}]'`)
	require.NoError(t, pg.PauseStrays(t.Context(), owner, []pg.Stray{{InstanceID: id, Domain: domain, From: 7, To: 3}, {InstanceID: -1, Domain: "gone"}}))
	found := finding(t, config, "moved cursors")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Says, domain)
	require.Contains(t, found[0].Mend, "sender resume")
	require.Equal(t, "3 0 []", value[string](t, owner, `
		select concat_ws(' ', q.last_successful_id, h.ahead_id, h.held)
		from fedsender.queue_state q join fedsender.instance_health h using (instance_id) where instance_id = $1`, id))
	execute(t, owner, `select fedsender.resume($1)`, domain)
	require.Empty(t, finding(t, config, "moved cursors"))
}

func TestDiagnose_TheOwnerOfTheSchemaOnlyReadsTheApplicationsTables(t *testing.T) {
	owner := migrated(t)
	execute(t, owner, `create table public.outbox (id int)`)
	execute(t, owner, `create or replace view fedsender.source_right as
		select 'public.outbox'::text as relation, null::text as attribute, privilege::text from unnest(array['select', 'insert', 'update']) as privilege`)
	migrator, sender := role(t, owner, "migrator").Config().User, role(t, owner, "sender")
	execute(t, owner, `alter schema fedsender owner to `+migrator)
	grant(t, owner, sender, senderGrants)
	name := sender.Config().User
	const what = "rights on the application's tables"
	found := finding(t, sender.Config(), what)
	require.Len(t, found, 1)
	require.Equal(t, pg.Bad, found[0].Verdict)
	require.ElementsMatch(t, []string{"grant select on public.outbox to " + migrator, "grant insert, select, update on public.outbox to " + name}, strings.Split(found[0].Mend, "; "))
	execute(t, owner, found[0].Mend)
	require.Equal(t, pg.OK, finding(t, sender.Config(), what)[0].Verdict)
}
