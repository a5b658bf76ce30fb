package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestStatus_SaysFirstWhichProcessHangs(t *testing.T) {
	silent := func(seconds float64) *float64 { return &seconds }
	report := statusReport{
		Summary: pg.QueueSummary{Instances: 5000, OK: 5000, Processes: 4},
		Held:    1920,
		Processes: []pg.ProcessStatus{
			{Name: "fine", Leases: 1000, MaxLeases: 1500, SilentSeconds: silent(1.9), PID: 11},
			{Name: "hung", Leases: 10, SilentSeconds: silent(20.4), PID: 12, MayEnd: true},
			{Name: "stuck", Leases: 1, SilentSeconds: silent(90), PID: 13, Role: "other"},
			{Name: "goes", Leases: 909, SilentSeconds: silent(0.1), PID: 14, Leaving: true},
			{Name: "hidden", PID: 15},
		},
	}
	var out bytes.Buffer
	report.Problems = problems(report)
	require.NoError(t, printStatus(&out, look{}, report, time.Now()))
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, "Process hung has been silent for 20s; its 10 instances wait; "+
		"the others end its session after 30 s, if their role may; to end it: select pg_terminate_backend(12)", lines[0])
	require.Equal(t, "Process stuck has been silent for 1m30s; its 1 instance wait; "+
		"end its session as role other or a superuser: select pg_terminate_backend(13)", lines[1])
	require.NotContains(t, lines[2], "Process")
	require.Contains(t, out.String(), "\nheld: 1,920 of 5,000 instances; nobody delivers to the other 3,080 at this moment\n")
	require.Regexp(t, `(?m)^fine .* 1s +1,000 +1,500 `, out.String())
	require.Regexp(t, `(?m)^goes .* leaving +909 +- `, out.String())
	require.Regexp(t, `(?m)^hidden .* \? +0 +- `, out.String())
}

func TestStatus_SaysWhoHasLockedATable(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	execute(t, conn, `set application_name = 'psql'`)
	execute(t, conn, `begin; lock table fedsender.instance in access exclusive mode`)
	runProgram(t, environment, "status").requireOneLine(t, 1, "gave no answer in time: pid ",
		"(psql, role postgres) holds up fedsender.instance (AccessExclusiveLock)", "to end it: select pg_terminate_backend(")
}

func TestStatus_SaysWhyAnInstanceIsWhereItIsAndWhatToDo(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	execute(t, conn, `
		insert into fedsender.activity (ap_id, data, actor_id, send_all_instances, published_at) values ('a', '{}', 1, true, now() - interval '1 hour');
		update fedsender.instance_health set last_error = '401 Unauthorized', last_http_status = 401, last_error_at = now()`)
	for _, c := range []struct {
		state, sql, undo string
		why              string
		do               []string
	}{
		{"lagging", `update fedsender.instance_control set max_in_flight = null`, ``, "what waits for it is up to 1h0m old", []string{"sender doctor", "sender skip toad.example"}},
		{"lagging", `update fedsender.instance_health set not_before = now() + interval '90 minutes'`, `update fedsender.instance_health set not_before = null`,
			"asked for a pause (429, or 503 with Retry-After): nothing is sent to it for 1h", []string{"nothing: it gets less at one time from then on", "sender retry toad.example"}},
		{"failing", `update fedsender.queue_state set fail_count = 5, last_retry_at = now()`, `update fedsender.queue_state set fail_count = 0`,
			"5 tries in a row failed. It is", []string{"fetch the actor's key", "sender retry toad.example"}},
		{"paused", `select fedsender.pause('toad.example'); update fedsender.instance_control set note = 'asked by mail'`, `select fedsender.resume('toad.example')`,
			"It is paused until somebody resumes it. Nothing is sent to it and its cursor stands still", []string{"sender resume toad.example"}},
		{"blocked", `insert into fedsender.domain_block (domain) values ('toad.example')`, `delete from fedsender.domain_block`, "It is on the list of blocked domains", []string{"change the list"}},
		{"blocked", `insert into fedsender.domain_allow (domain) values ('frog.example')`, `delete from fedsender.domain_allow`, "There is a list of allowed domains, and it is not on it", []string{"change the list"}},
		{"dead", `update fedsender.instance_health set gone = true`, `update fedsender.instance_health set gone = false`, "Its shared inbox has answered that it is gone", []string{"sender retry toad.example"}},
		{"lagging", `select pg_advisory_lock(` + leaseClass + `, id) from fedsender.instance where domain = 'toad.example'`, `select pg_advisory_unlock_all()`,
			"Its lease is held by something that is no sender", []string{"sender doctor says what to end"}},
	} {
		execute(t, conn, c.sql)
		var r domainReport
		runProgram(t, environment, "status", "toad.example", "--json").decode(t, &r)
		require.Equal(t, c.state, r.State)
		require.Contains(t, r.Why, c.why)
		for _, do := range c.do {
			require.Contains(t, strings.Join(r.Do, "; "), do)
		}
		runProgram(t, environment, "status", "toad.example").requireDone(t, c.why, c.do[0])
		execute(t, conn, c.undo)
	}
}

func TestProblems_MoreProcessesDoNotHelpWhereServersAskedForAPause(t *testing.T) {
	summary := pg.QueueSummary{Instances: 9, OK: 1, Lagging: 8, Throttled: 8, Processes: 1}
	require.Contains(t, lagging(summary), "8 instances lag although they do not fail: they have asked for a pause")
	summary.OldestLagSeconds, summary.Throttled = 300, 3
	require.Contains(t, lagging(summary), "3 asked for a pause")
	require.Contains(t, lagging(summary), "For the others more comes than is delivered")
	summary.Throttled = 0
	require.Contains(t, lagging(summary), "8 instances lag although they do not fail: more comes than is delivered")
}

func TestWhyNot_SaysThatAPauseWasAskedFor(t *testing.T) {
	now := time.Now()
	require.Equal(t, "it is next", whyNot(pg.TraceTarget{State: "ok", Holder: "one"}, now))
	require.Equal(t, "it has asked for a pause, next try in 1d0h", whyNot(pg.TraceTarget{State: "ok", Holder: "one", NextRetryAt: now.Add(24 * time.Hour)}, now))
}

// Odd databases: each gets one line that says what to do, never a Go or SQL error alone.
func TestStatus_OfAnOddDatabaseSaysWhatToDo(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	name := conn.Config().Database
	for _, verb := range [][]string{{"status"}, {"status", "toad.example"}, {"trace", "a"}, {"dead-letters", "list"}, {"retry", "toad.example"}} {
		runProgram(t, []string{"DATABASE_URL=" + postgres.Database(t)}, verb...).requireOneLine(t, 2, "has no schema fedsender; run: sender migrate")

		execute(t, conn, `update fedsender.schema_version set version = version - 1`)
		runProgram(t, environment, verb...).requireOneLine(t, 2, "older than the", "run: sender migrate")
		execute(t, conn, `update fedsender.schema_version set version = version + 2`)
		runProgram(t, environment, verb...).requireOneLine(t, 2, "newer than the", "install the newer sender")
		execute(t, conn, `update fedsender.schema_version set version = version - 1`)

		stranger := "stranger_" + name
		execute(t, conn, `create role `+stranger+` login`)
		as := strings.Replace(url, "postgres@", stranger+"@", 1)
		o := runProgram(t, []string{"DATABASE_URL=" + as}, verb...)
		o.requireOneLine(t, 1, stranger, "lacks a privilege", "docs/sql.md")
		execute(t, conn, `drop role `+stranger)

		execute(t, conn, `alter database `+name+` set default_transaction_read_only = on`)
		o = runProgram(t, environment, verb...)
		execute(t, conn, `alter database `+name+` reset default_transaction_read_only`)
		if verb[0] == "retry" {
			o.requireOneLine(t, 1, "takes no writes")
		} else if verb[0] == "trace" {
			o.requireOneLine(t, 1, "there is no activity")
		} else {
			o.requireDone(t)
		}
	}
	execute(t, conn, `drop view fedsender.queue_summary, fedsender.instance_status cascade`)
	runProgram(t, environment, "status").requireOneLine(t, 1, "does not exist", "sender doctor")
	runProgram(t, environment, "status", "toad.example").requireOneLine(t, 1, "does not exist", "sender doctor")
	runProgram(t, environment, "migrate").requireDone(t)
	runProgram(t, environment, "status").requireDone(t)
}
