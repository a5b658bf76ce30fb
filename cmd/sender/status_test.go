package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
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
	require.NoError(t, printStatus(&out, report, time.Now()))
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
