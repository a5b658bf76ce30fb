package pg_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// finding is what the diagnosis says of one thing.
func finding(t *testing.T, config *pgx.ConnConfig, what string) (found []pg.Finding) {
	t.Helper()
	for _, f := range pg.Diagnose(t.Context(), config, config, pg.Outside{}) {
		if f.What == what {
			found = append(found, f)
		}
	}
	return found
}

func TestDiagnose_SendersOfSeveralRolesThatMayNotEndEachOther(t *testing.T) {
	owner := migrated(t)
	first, second := role(t, owner, "first"), role(t, owner, "second")
	openAs := func(conn *pgx.Conn, id string) *pgx.ConnConfig {
		config := parse(t, fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", owner.Config().Host, owner.Config().Port, conn.Config().User, owner.Config().Database))
		s, err := pg.OpenLeaseSession(t.Context(), config, id, 0, quiet())
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return config
	}
	asFirst := openAs(first, "a")
	require.Empty(t, finding(t, asFirst, "roles of senders"), "one role needs no word")
	openAs(second, "b")

	found := finding(t, asFirst, "roles of senders")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Mend, "grant pg_signal_backend to "+first.Config().User)
	hidden := finding(t, asFirst, "sender processes")
	require.Len(t, hidden, 1)
	require.Contains(t, hidden[0].Says, "2 run; of 1 of them it is hidden")
	require.Contains(t, hidden[0].Mend, "pg_read_all_stats")

	require.NoError(t, pg.WriteProcess(t.Context(), owner, pg.Process{ID: "b", Name: "two"}))
	execute(t, owner, `grant usage on schema fedsender to `+first.Config().User+`; grant select on all tables in schema fedsender to `+first.Config().User)
	require.Empty(t, finding(t, asFirst, "hung process"))
	execute(t, owner, `update fedsender.process set seen_at = now() - interval '40 minutes' where id = 'b'`)
	hung := finding(t, asFirst, "hung process")
	require.Len(t, hung, 1)
	require.Equal(t, pg.Bad, hung[0].Verdict)
	require.Contains(t, hung[0].Says, "two (pid ")
	require.Contains(t, hung[0].Says, "is silent for 40m")

	execute(t, owner, `grant pg_signal_backend, pg_read_all_stats to `+first.Config().User+`, `+second.Config().User)
	require.Equal(t, pg.OK, finding(t, asFirst, "roles of senders")[0].Verdict)
	require.Equal(t, "2 run, none hangs", finding(t, asFirst, "sender processes")[0].Says)
}

func TestDiagnose_NamesTheLockTableThatIsLargeEnough(t *testing.T) {
	owner := migrated(t)
	execute(t, owner, `insert into fedsender.instance (domain) select 'n' || g || '.example' from generate_series(1, 20000) g`)
	config := parse(t, owner.Config().ConnString())
	found := finding(t, config, "lock table")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	var wanted int
	_, err := fmt.Sscanf(found[0].Mend, "alter system set max_locks_per_transaction = %d (it is 64) and restart the server", &wanted)
	require.NoError(t, err, found[0].Mend)
	require.Equal(t, 120, wanted) // 20,000 instances, a fifth more, twice as much, over 300 connections and 100 prepared transactions
}

func TestDiagnose_TriesTheSettingsOfALeaseSession(t *testing.T) {
	owner := migrated(t)
	found := finding(t, parse(t, owner.Config().ConnString()), "lease settings")
	require.Len(t, found, 1)
	require.Equal(t, pg.OK, found[0].Verdict)
	require.Contains(t, found[0].Says, "after 10 s")
}

func TestDiagnose_NamesTheSettingOfALeaseSessionThatIsRefused(t *testing.T) {
	owner := migrated(t)
	config := parse(t, owner.Config().ConnString())
	newPooler(t, config, true).refuse("tcp_user_timeout")
	found := finding(t, config, "lease settings")
	require.Len(t, found, 1)
	require.Equal(t, pg.Warn, found[0].Verdict)
	require.Contains(t, found[0].Says, "tcp_user_timeout = 10000 is refused")
	require.Contains(t, found[0].Says, "for up to 15 minutes")
}

func TestProcessStatus_SaysHowLongASessionIsSilentAndWhoMayEndIt(t *testing.T) {
	owner := migrated(t)
	s, err := pg.OpenLeaseSession(t.Context(), parse(t, owner.Config().ConnString()), "a", 0, quiet())
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, pg.WriteProcess(t.Context(), owner, pg.Process{ID: "a", Name: "one"}))
	const sql = `select pid, role, silent_for between interval '0' and interval '1 minute', may_end from fedsender.process_status where id = 'a'`
	var pid int32
	var name string
	var silent *bool
	var mayEnd bool
	require.NoError(t, owner.QueryRow(t.Context(), sql).Scan(&pid, &name, &silent, &mayEnd))
	require.Equal(t, s.PID(), pid)
	require.Equal(t, "postgres", name)
	require.True(t, *silent)
	require.True(t, mayEnd)

	viewer := role(t, owner, "viewer")
	grant(t, owner, viewer, viewerGrants)
	require.NoError(t, viewer.QueryRow(t.Context(), sql).Scan(&pid, &name, &silent, &mayEnd))
	require.True(t, *silent, "as the owner sees it")
	require.False(t, mayEnd)
}

func TestDiagnose_ReadsTheClockWhateverTheFormOfNumbers(t *testing.T) {
	owner := migrated(t)
	asSender := role(t, owner, "sender")
	execute(t, owner, `alter role `+asSender.Config().User+` set extra_float_digits = -15`)
	found := finding(t, asSender.Config(), "clock")
	require.Len(t, found, 1)
	require.Equal(t, pg.OK, found[0].Verdict, found[0].Says)
}
