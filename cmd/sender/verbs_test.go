package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// fill makes an actor with a follower, three instances and the rows that trouble leaves behind.
func fill(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), `
		insert into fedsender.actor (ap_id, key_id, private_key_pem) values ('https://here.example/u/ann', 'https://here.example/u/ann#main-key', 'x');
		insert into fedsender.instance (domain, shared_inbox)
		select d, 'https://' || d || '/inbox' from unnest(array['toad.example', 'frog.example', 'newt.example:8443']) d;
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		select 1, 'https://frog.example/u/bob', id, 'https://frog.example/u/bob/inbox' from fedsender.instance where domain = 'frog.example';`)
	require.NoError(t, err)
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func document(id string) string {
	return `{"id":"` + id + `","type":"Create","actor":"https://here.example/u/ann","object":{"id":"https://here.example/n/1"}}`
}

func TestEnqueue_InsertsWhatTheDocumentSays(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	file := filepath.Join(t.TempDir(), "create.json")
	require.NoError(t, os.WriteFile(file, []byte(document("https://here.example/a/1")), 0o600))

	runProgram(t, environment, "enqueue", file, "--actor", "https://here.example/u/ann", "--all-instances").
		requireDone(t, "activity 1: https://here.example/a/1")
	o := runWith(t, document("https://here.example/a/2"), environment, "enqueue", "-", "--actor", "https://here.example/u/ann",
		"--inbox", "https://toad.example/inbox", "--inbox", "https://new.example/inbox", "--followers-of", "1", "--json")
	o.requireDone(t, `"activity_id": 2`)

	var inboxes []string
	var followersOf []int64
	require.NoError(t, conn.QueryRow(t.Context(), `select send_inboxes, send_followers_of from fedsender.activity where id = 2`).Scan(&inboxes, &followersOf))
	require.Equal(t, []string{"https://toad.example/inbox", "https://new.example/inbox"}, inboxes)
	require.Equal(t, []int64{1}, followersOf)

	runProgram(t, environment, "enqueue", file, "--actor", "https://here.example/u/ann", "--all-instances").
		requireOneLine(t, 1, "https://here.example/a/1: there is an activity with this id already")
	runWith(t, document("https://here.example/a/3"), environment, "enqueue", "-", "--actor", "https://here.example/u/eve", "--all-instances").
		requireOneLine(t, 1, "there is no actor with ap_id https://here.example/u/eve", "Insert it into fedsender.actor")

	to := []string{"enqueue", "-", "--actor", "https://here.example/u/ann", "--followers-of", "1", "--followers-of", "99"}
	const nobody = "nobody follows the actor with the id 99: by --followers-of 99 it reaches nobody\n"
	o = runWith(t, document("https://here.example/a/4"), environment, to...)
	o.requireDone(t, nobody)
	require.NotContains(t, o.out, "id 1:")
	var done enqueued
	runWith(t, document("https://here.example/a/5"), environment, append(to, "--json")...).decode(t, &done)
	require.Equal(t, []int64{99}, done.Unfollowed)
}

func TestEnqueue_RefusesWhatWouldOnlyMakeADeadLetter(t *testing.T) {
	for name, c := range map[string]struct {
		document string
		flags    []string
		says     string
	}{
		"no JSON":         {"{", []string{"--actor", "x", "--all-instances"}, "no JSON object"},
		"a list":          {"[]", []string{"--actor", "x", "--all-instances"}, "no JSON object"},
		"no id":           {"{}", []string{"--actor", "x", "--all-instances"}, "has no id"},
		"an id that is 3": {`{"id":3}`, []string{"--actor", "x", "--all-instances"}, "has no id"},
		"too large":       {`{"id":"` + strings.Repeat("x", 1<<20) + `"}`, []string{"--actor", "x", "--all-instances"}, "larger than 1 MiB"},
		"no actor":        {document("a"), []string{"--all-instances"}, "--actor"},
		"nobody":          {document("a"), []string{"--actor", "x"}, "to whom"},
		"javascript":      {document("a"), []string{"--actor", "x", "--inbox", "javascript:alert(1)"}, "--inbox"},
		"a name":          {document("a"), []string{"--actor", "x", "--followers-of", "ann"}, "--followers-of"},
		"a number":        {document("a"), []string{"--actor", "x", "--followers-of", "-1"}, "--followers-of"},
		"odd bytes":       {document("a\xff"), []string{"--actor", "x", "--all-instances"}, "no text in UTF-8"},
		"a null":          {document(`a\u0000`), []string{"--actor", "x", "--all-instances"}, "has no id"},
	} {
		t.Run(name, func(t *testing.T) {
			runWith(t, c.document, nil, append([]string{"enqueue", "-"}, c.flags...)...).requireOneLine(t, 2, c.says)
		})
	}
}

func TestStatus_ShowsWhatIsWrongFirstAndNoTricksOfRemoteServers(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	for _, id := range []string{"https://here.example/a/1", "https://here.example/a/2"} {
		runWith(t, document(id), environment, "enqueue", "-", "--actor", "https://here.example/u/ann", "--all-instances").requireDone(t)
	}
	execute(t, conn, `
		update fedsender.queue_state set fail_count = 5, last_retry_at = now() where instance_id = 1;
		update fedsender.instance_health set last_error = E'503 \x1b[31mgo \u202e away', last_http_status = 503 where instance_id = 1;`)

	o := runProgram(t, environment, "status")
	o.requireDone(t, "No sender process is running", "toad.example", "failing", "503 [31mgo  away", "3 instances: 2 ok, 1 failing", "highest id 2")
	require.NotContains(t, o.out, "\x1b")
	require.NotContains(t, o.out, "\u202e")
	require.NotContains(t, o.out, "frog.example", "only trouble is listed")
	o = runProgram(t, environment, "status", "--all")
	o.requireDone(t, "frog.example")
	require.Less(t, strings.Index(o.out, "toad.example"), strings.Index(o.out, "frog.example"))

	var report statusReport
	o = runProgram(t, environment, "status", "--json")
	o.decode(t, &report)
	require.Len(t, report.Instances, 3)
	require.Equal(t, "failing", report.Instances[0].State)
	require.EqualValues(t, 2, report.Instances[0].IDsBehind)
	require.EqualValues(t, 1, report.Summary.Failing)
	require.NotContains(t, o.out, "\x1b")

	runProgram(t, environment, "status", "TOAD.example").requireDone(t, "5", "failing", "next try")
	runProgram(t, environment, "status", "nobody.example").requireOneLine(t, 1, "no instance with this domain")
}

func TestStatus_WatchGoesOnUntilItIsInterrupted(t *testing.T) {
	_, environment := migrated(t)
	cmd := command(t, environment, "status", "--watch")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	first := make([]byte, 64)
	_, err = out.Read(first)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "an interrupt is no failure")
}

func TestInstanceVerbs_ChangeWhatTheySay(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	for _, id := range []string{"https://here.example/a/1", "https://here.example/a/2", "https://here.example/a/3"} {
		runWith(t, document(id), environment, "enqueue", "-", "--actor", "https://here.example/u/ann", "--all-instances").requireDone(t)
	}
	state := func() string {
		found, err := pg.InstanceStatuses(t.Context(), conn, pg.InstanceStatusFilter{Domain: "toad.example"})
		require.NoError(t, err)
		return found[0].State
	}
	runProgram(t, environment, "pause", "toad.example").requireDone(t, "toad.example: paused until it is resumed")
	require.Equal(t, "paused", state())
	runProgram(t, environment, "resume", "toad.example", "--json").requireDone(t, `"done": "resumed"`)
	require.Equal(t, "ok", state())
	runProgram(t, environment, "pause", "toad.example", "--until", "2h").requireDone(t, "paused until 20")
	require.Equal(t, "paused", state())
	runProgram(t, environment, "resume", "toad.example").requireDone(t)

	execute(t, conn, `update fedsender.queue_state set fail_count = 3, last_retry_at = now() where instance_id = 1`)
	runProgram(t, environment, "retry", "toad.example").requireDone(t, "its back-off is over, but no process delivers to it")
	var due bool
	require.NoError(t, conn.QueryRow(t.Context(), `select last_retry_at is null from fedsender.queue_state where instance_id = 1`).Scan(&due))
	require.True(t, due)

	execute(t, conn, `insert into fedsender.domain_block (domain) values ('toad.example')`)
	runProgram(t, environment, "retry", "toad.example").requireDone(t, "but it is blocked")
	execute(t, conn, `delete from fedsender.domain_block`)
	runProgram(t, environment, "pause", "toad.example").requireDone(t)
	runProgram(t, environment, "retry", "toad.example", "--json").requireDone(t, `"waits_for": "it is paused`, "sender resume toad.example")
	runProgram(t, environment, "resume", "toad.example").requireDone(t)

	runProgram(t, environment, "skip", "toad.example", "--to", "latest").requireDone(t, "skipped 3 ids")
	runProgram(t, environment, "replay", "toad.example", "--since", "1h", "--json").requireDone(t, `"ids": 3`)

	for _, verb := range [][]string{{"pause"}, {"resume"}, {"retry"}, {"skip", "--to", "latest"}, {"replay", "--since", "1h"}} {
		runProgram(t, environment, append(verb, "nobody.example")...).requireOneLine(t, 1, "no instance with domain nobody.example", "sender status")
	}
}

func TestInstanceVerbs_RefuseWrongUsageBeforeTheyConnect(t *testing.T) {
	for _, arguments := range [][]string{
		{"pause"}, {"pause", "a", "b"}, {"pause", "a", "--until", "soon"}, {"pause", "a", "--until", "2001-01-01"}, {"pause", "a", "--until", ""},
		{"replay", "a", "--since", time.Now().Add(time.Hour).Format(time.RFC3339)},
		{"skip", "a"}, {"skip", "a", "--to", "5"}, {"replay", "a"}, {"replay", "a", "--since", "-1h"},
		{"dead-letters"}, {"dead-letters", "retry"}, {"dead-letters", "drop", "1", "--all"}, {"dead-letters", "drop", "one"},
		{"trace"}, {"status", "a", "b"}, {"nothing"}, {"status", "--nothing"}, {"version", "x"},
	} {
		runProgram(t, nil, arguments...).requireOneLine(t, 2)
	}
}

func TestVerbs_SayWhatIsWrongWithAnArgumentBeforeTheDatabaseDoes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 2500)
	domains := [][]string{{"status"}, {"pause"}, {"resume"}, {"retry"}, {"skip", "--to", "latest"}, {"replay", "--since", "1h"},
		{"dead-letters", "list", "--domain"}, {"dead-letters", "retry", "--domain"}, {"dead-letters", "drop", "--domain"}}
	for _, verb := range domains {
		for argument, says := range map[string]string{"": "DOMAIN is empty", " ": "DOMAIN is empty", long: "longer than 260", "a\xff.example": "no text in UTF-8"} {
			o := execution(t, append(append([]string{}, verb...), argument)...)
			o.requireOneLine(t, 2, says)
			require.Less(t, len(o.errors), 300)
		}
	}
	for _, c := range []struct {
		says      string
		arguments []string
	}{
		{"no text in UTF-8", []string{"trace", "\xff"}}, {"AP_ID is empty", []string{"trace", ""}},
		{"--actor is no text in UTF-8", []string{"enqueue", "-", "--actor", "\xff"}}, {"--peer is no text in UTF-8", []string{"doctor", "--peer", "\xff"}},
		{"--peer must be the name of a host", []string{"doctor", "--peer", " "}}, {"--peer must be the name of a host", []string{"doctor", "--peer", long}},
		{`"-1" is no id of a dead letter`, []string{"dead-letters", "drop", "-1"}}, {`"-23" is no id of a dead letter`, []string{"dead-letters", "retry", "-23"}},
		{"see sender dead-letters drop --help", []string{"dead-letters", "drop", "-x"}},
		{"dead-letters needs one of drop, list, retry", []string{"dead-letters", "burn"}},
		{"completion needs one of bash, fish, powershell, zsh", []string{"completion", "tcsh"}}, {"completion needs one of", []string{"completion"}},
		{"is no time", []string{"pause", "a.example", "--until", long}}, {"unknown command", []string{long}}, {"unknown flag", []string{"status", "--" + long}},
	} {
		o := execution(t, c.arguments...)
		o.requireOneLine(t, 2, c.says)
		require.Less(t, len(o.errors), 1600)
	}
}

// execution is an outcome without a process of its own.
func execution(t *testing.T, arguments ...string) outcome {
	t.Helper()
	var out, said strings.Builder
	a := &app{out: &out, err: &said, in: strings.NewReader(document("a")), environment: map[string]string{}}
	root := newRoot(a)
	root.SetArgs(arguments)
	code := a.finish(root.ExecuteContext(t.Context()))
	return outcome{code, out.String(), said.String()}
}

func TestVerbs_TakeADatabaseWithoutTheSchemaForWrongConfiguration(t *testing.T) {
	environment := []string{"DATABASE_URL=" + postgres.Database(t)}
	for _, verb := range [][]string{{"run"}, {"status", "--watch"}, {"trace", "a"}, {"dead-letters", "drop", "--all"}, {"pause", "a"}, {"enqueue", "-", "--actor", "x", "--all-instances"}} {
		runWith(t, document("a"), environment, verb...).requireOneLine(t, 2, "has no schema fedsender; run: sender migrate")
	}
	require.Equal(t, 1, runProgram(t, environment, "doctor", "--offline").code, "its answer is bad")
	runProgram(t, environment, "migrate", "--down").requireDone(t, "there is no schema")
}

func TestDeadLetters_AreListedTriedAgainAndDropped(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	runProgram(t, environment, "dead-letters", "list").requireDone(t, "no dead letters")
	require.Equal(t, "[]\n", runProgram(t, environment, "dead-letters", "list", "--json").out)
	runWith(t, document("https://here.example/a/1"), environment, "enqueue", "-", "--actor", "https://here.example/u/ann", "--all-instances").requireDone(t)
	execute(t, conn, `
		insert into fedsender.dead_letter (activity_id, instance_id, inbox, reason, http_status, attempts)
		values (1, 1, 'https://toad.example/inbox', E'500 \x1b]0;Internal Server Error', 500, 8), (1, 2, null, 'refused', null, 0),
			(1, null, 'ftp://x', 'the inbox "ftp://x" is not an https URL', null, 0)`)

	o := runProgram(t, environment, "dead-letters", "list", "--domain", "toad.example")
	o.requireDone(t, "toad.example", "500 ]0;Internal Server Error", "https://here.example/a/1")
	require.NotContains(t, o.out, "frog.example")
	var letters []pg.DeadLetter
	runProgram(t, environment, "dead-letters", "list", "--json").decode(t, &letters)
	require.Len(t, letters, 3)

	runProgram(t, environment, "dead-letters", "retry", "1").requireDone(t, "retried 1 dead letter")
	o = runProgram(t, environment, "dead-letters", "retry", "--all")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.out, "retried 1 dead letter")
	require.Contains(t, o.errors, "names no server")
	runProgram(t, environment, "dead-letters", "drop", "3").requireDone(t, "dropped 1 dead letter")
	runProgram(t, environment, "dead-letters", "drop", "--domain", "toad.example", "--json").requireDone(t, `"dropped": []`)
	o = runProgram(t, environment, "dead-letters", "drop", "99")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.errors, "there is no dead letter 99")
	require.Empty(t, o.out)
	for _, verb := range []string{"list", "retry", "drop"} {
		runProgram(t, environment, "dead-letters", verb, "--domain", "nobody.example").requireOneLine(t, 1, "nobody.example: there is no instance")
	}
}

func TestTrace_SaysWhoHasItAndWhoWaitsWhy(t *testing.T) {
	url, environment := migrated(t)
	conn := fill(t, url)
	runWith(t, document("https://here.example/a/1"), environment, "enqueue", "-", "--actor", "https://here.example/u/ann",
		"--inbox", "https://TOAD.example:443/inbox", "--inbox", "https://newt.example:8443/inbox", "--inbox", "https://new.example/inbox",
		"--followers-of", "1").requireDone(t)
	execute(t, conn, `update fedsender.activity set send_inboxes = send_inboxes || array['https://bob:s3cret@other.example/@bob/inbox', 'bob:s3cret@nothing', 'https://bob:s3cret/x@odd.example/']`)
	execute(t, conn, `
		update fedsender.queue_state set last_successful_id = 1 where instance_id = 2;
		update fedsender.queue_state set fail_count = 5, last_retry_at = now() where instance_id = 1;
		update fedsender.instance_health set last_error = '503 Service Unavailable' where instance_id = 1;
		select fedsender.pause('newt.example:8443');`)

	o := runProgram(t, environment, "trace", "https://here.example/a/1")
	o.requireDone(t, "for 1 of 3 instances", "failing: 5 fails", "503 Service Unavailable", "paused", "no instance yet for the inbox https://new.example/inbox", "inbox https://other.example/@bob/inbox\n", "inbox nothing\n", "inbox https://…@odd.example/\n")
	require.NotContains(t, o.out, "s3cret")
	var trace pg.Trace
	runProgram(t, environment, "trace", "https://here.example/a/1", "--json").decode(t, &trace)
	settled := map[string]bool{}
	for _, target := range trace.Targets {
		settled[target.Domain] = target.Settled
	}
	require.Equal(t, map[string]bool{"toad.example": false, "frog.example": true, "newt.example:8443": false}, settled)

	execute(t, conn, `update fedsender.instance_health set ahead_id = 5, held = '[{"id": 2}]' where instance_id = 1`)
	runProgram(t, environment, "trace", "https://here.example/a/1").requireDone(t, "for 2 of 3 instances")
	execute(t, conn, `insert into fedsender.redelivery (instance_id, activity_id, inbox) values (2, 1, 'https://frog.example/inbox')`)
	runProgram(t, environment, "trace", "https://here.example/a/1").requireDone(t, "for 1 of 3 instances", "is sent again: waiting since")
	runProgram(t, environment, "status", "frog.example").requireDone(t, "1 activity is sent again", "sent again: 1")
	runProgram(t, environment, "status").requireDone(t, "1 retried and not yet sent")
	runProgram(t, environment, "trace", "https://here.example/a/9").requireOneLine(t, 1, "there is no activity with the id https://here.example/a/9")
}

func TestVersion_IsTheLinkedOne(t *testing.T) {
	runProgram(t, nil, "version").requireDone(t, "sender v0.0.1-test (go")
	var v struct{ Version, Go string }
	runProgram(t, nil, "version", "--json").decode(t, &v)
	require.Equal(t, "v0.0.1-test", v.Version)
}

func TestHelp_ListsEveryVerbAndVariable(t *testing.T) {
	o := runProgram(t, nil, "--help")
	for _, verb := range []string{"run", "migrate", "status", "doctor", "demo", "pause", "resume", "retry", "skip", "replay", "dead-letters", "trace", "enqueue", "version"} {
		o.requireDone(t, "\n  "+verb+" ")
	}
	runProgram(t, nil, "run", "--help").requireDone(t,
		"--max-in-flight, SENDER_MAX_IN_FLIGHT\n", "deliveries; default 1024", "DATABASE_URL_FILE", "HTTPS_PROXY", "GOMEMLIMIT", "SENDER_CACHE_BYTES", "64MiB")
}
