package pg_test

import (
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
