package failover

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// Nobody may end the session of a process that runs as a role of its own: who asks must be told what to do.
func TestHungProcess_ThatTheOthersMayNotEndIsNamedWithTheMend(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(ctx, "app")
	must(t, err)
	r := newRig(t, database)
	_, err = r.DB.Exec(ctx, `
		create role one login; create role two login;
		grant usage on schema fedsender to one, two;
		grant select, insert, update, delete on all tables in schema fedsender to one, two;
		grant execute on all functions in schema fedsender to one, two;
		grant pg_read_all_stats to one, two`)
	must(t, err)
	as := func(role string) string {
		return "DATABASE_URL=" + strings.Replace(database, "postgres@", role+"@", 1)
	}
	r.start(ctx, 1, as("one"))
	r.start(ctx, 1, as("two"))
	must(t, r.WaitHeld(ctx, 2))
	hung, other := r.started[0], r.started[1]
	must(t, hung.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = hung.Signal(syscall.SIGCONT) })

	var pid int
	must(t, r.DB.QueryRow(ctx, `select pid from fedsender.process_status where role = 'one'`).Scan(&pid))
	must(t, fleet.Until(ctx, "the process is silent for 30 s", func() (silent bool, err error) {
		err = r.DB.QueryRow(ctx, `select silent_for > interval '30 s' from fedsender.process_status where pid = $1`, pid).Scan(&silent)
		return silent, err
	}))
	r.says(ctx, "could not end the lease session", "another role")
	code, output := command(t, []string{as("two")}, "doctor")
	if code != 1 || !strings.Contains(output, "hung process") ||
		!strings.Contains(output, fmt.Sprintf("as role one or a superuser: select pg_terminate_backend(%d)", pid)) {
		t.Errorf("doctor of a role that may not end it: exit code %d: %s", code, output)
	}
	code, output = command(t, []string{"DATABASE_URL=" + database}, "doctor")
	if code != 1 || !strings.Contains(output, fmt.Sprintf("→ select pg_terminate_backend(%d)", pid)) {
		t.Errorf("doctor of a superuser: exit code %d: %s", code, output)
	}

	// What the doctor says helps: the others end it by themselves.
	_, err = r.DB.Exec(ctx, `grant pg_signal_backend to one, two`)
	must(t, err)
	must(t, r.WaitHeld(ctx, 1))
	must(t, hung.Signal(syscall.SIGCONT))
	must(t, r.WaitHeld(ctx, 2))
	must(t, other.Stop(ctx))
}
