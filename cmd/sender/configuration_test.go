package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestConfiguration_AWrongValueIsOneLineThatNamesIt(t *testing.T) {
	const dsn = "DATABASE_URL=postgres://u:s3cret@127.0.0.1:1/x"
	for name, c := range map[string]struct {
		environment, arguments []string
		says                   string
	}{
		"variable":           {[]string{dsn, "SENDER_MAX_IN_FLIGHT=many"}, []string{"run"}, `SENDER_MAX_IN_FLIGHT must be a whole number, not "many"`},
		"flag":               {[]string{dsn}, []string{"run", "--request-timeout", "30"}, `--request-timeout must be a duration with a unit`},
		"flag over variable": {[]string{dsn, "SENDER_SOURCE=native"}, []string{"run", "--source=x"}, "--source must be"},
		"signer":             {[]string{dsn, "SENDER_SIGNER=batch"}, []string{"run"}, "SENDER_SIGNER batch is not in this version"},
		"no database":        {nil, []string{"run"}, "DATABASE_URL is not set"},
		"broken URL":         {[]string{"DATABASE_URL=postgres://u:s3cr%et@db/x"}, []string{"status"}, "DATABASE_URL is no valid postgres:// URL"},
		"unescaped password": {[]string{"DATABASE_URL=postgres://u:s3cret/x@db/x"}, []string{"run"}, "DATABASE_URL has an @ in the host or behind it"},
		"broken flag":        {nil, []string{"status", "--database-url", "postgres://u:s3cr%et@db/x"}, "--database-url is no valid"},
		"lease URL":          {[]string{dsn, "SENDER_LEASE_DATABASE_URL=host"}, []string{"run"}, "SENDER_LEASE_DATABASE_URL is neither"},
		"both":               {[]string{dsn, "DATABASE_URL_FILE=/x"}, []string{"status"}, "DATABASE_URL_FILE and DATABASE_URL are both set"},
		"missing file":       {[]string{"DATABASE_URL_FILE=/does/not/exist"}, []string{"run"}, "DATABASE_URL_FILE can't be read"},
		"CA":                 {[]string{dsn, "SENDER_CA_FILE=/does/not/exist"}, []string{"run"}, "SENDER_CA_FILE can't be read"},
		"broken PG variable": {[]string{"PGHOST=db", "PGPORT=x"}, []string{"status"}, "PG* variables"},
	} {
		t.Run(name, func(t *testing.T) {
			o := runProgram(t, c.environment, c.arguments...)
			o.requireOneLine(t, 2, c.says)
			require.NotContains(t, o.errors, "s3cr")
		})
	}
}

func TestConfiguration_AFlagBeatsItsVariableAndItsFile(t *testing.T) {
	url, _ := migrated(t)
	file := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(file, []byte("postgres://nobody@127.0.0.1:1/x"), 0o600))
	runProgram(t, []string{"DATABASE_URL_FILE=" + file}, "dead-letters", "list", "--database-url", url).requireDone(t, "no dead letters")
	runProgram(t, []string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/x"}, "dead-letters", "list", "--database-url="+url).requireDone(t, "no dead letters")
}

func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestDatabase_OneThatCantBeReachedIsOneLine(t *testing.T) {
	port := closedPort(t)
	environment := []string{fmt.Sprintf("DATABASE_URL=postgres://app:s3cret@127.0.0.1:%d/app?sslmode=disable", port)}
	for _, verb := range [][]string{{"status"}, {"migrate"}, {"dead-letters", "list"}} {
		o := runProgram(t, environment, verb...)
		o.requireOneLine(t, 1, fmt.Sprintf("can't connect to database app as user app on 127.0.0.1:%d: connection refused", port))
		require.NotContains(t, o.errors, "s3cret")
	}
	began := time.Now()
	o := runProgram(t, environment, "run")
	require.Equal(t, 1, o.code)
	lines := strings.Split(strings.TrimSpace(o.errors), "\n")
	require.Len(t, lines, 2, "one when it begins to wait, one at the end: %s", o.errors)
	require.Contains(t, lines[0], "waiting for the database")
	require.Contains(t, lines[1], "sender: can't connect to database app")
	require.NotContains(t, o.errors, "s3cret")
	require.Less(t, time.Since(began), 20*time.Second)
}

func TestDatabase_OneThatTakesConnectionsAndSaysNothingIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes them
	require.NoError(t, err)
	defer listener.Close()
	environment := []string{fmt.Sprintf("DATABASE_URL=postgres://app:s3cret@%s/app?connect_timeout=1", listener.Addr()), "SENDER_ADMIN_ADDR="}
	says := listener.Addr().String() + " accepts connections and does not answer"
	runProgram(t, environment, "status").requireOneLine(t, 1, says)
	o := runProgram(t, environment, "run")
	require.Equal(t, 1, o.code)
	first, last, _ := strings.Cut(strings.TrimSpace(o.errors), "\n")
	require.Contains(t, first, "waiting for the database")
	require.Contains(t, first, says)
	require.Contains(t, last, "sender: can't connect to database app")
	require.Contains(t, last, says)
}

func TestDatabase_AWrongPasswordIsNotWaitedFor(t *testing.T) {
	server := startServer(t, postgres.Options{Password: true})
	began := time.Now()
	runProgram(t, []string{fmt.Sprintf("DATABASE_URL=postgres://postgres:s3cret@127.0.0.1:%d/postgres?sslmode=disable", server.Port())}, "run").
		requireOneLine(t, 1, "password authentication failed")
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestSchema_OneThatDoesNotFitSaysWhatToDo(t *testing.T) {
	url := postgres.Database(t)
	environment := []string{"DATABASE_URL=" + url}
	for _, verb := range [][]string{{"run"}, {"status"}, {"pause", "a.example"}, {"dead-letters", "list"}, {"trace", "x"}} {
		runProgram(t, environment, verb...).requireOneLine(t, 2, "has no schema fedsender", "run: sender migrate")
	}
	o := runProgram(t, environment, "doctor")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.out, "sender migrate")
}

func TestSchema_OneOfAnotherVersionSaysWhatToDo(t *testing.T) {
	url, environment := migrated(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))

	execute(t, conn, `update fedsender.schema_version set version = version + 1`)
	runProgram(t, environment, "run").requireOneLine(t, 2, "newer than", "install the newer sender")
	runProgram(t, environment, "migrate").requireOneLine(t, 2, "newer than", "install the newer sender")
	execute(t, conn, `update fedsender.schema_version set version = version - 2`)
	runProgram(t, environment, "run").requireOneLine(t, 2, "older than", "run: sender migrate")
	runProgram(t, environment, "status").requireOneLine(t, 2, "older than", "run: sender migrate")
}

func TestMigrate_SaysWhatItDid(t *testing.T) {
	url := postgres.Database(t)
	environment := []string{"DATABASE_URL=" + url}
	runProgram(t, environment, "migrate", "--dry-run").requireDone(t, "create table fedsender.activity", "view fedsender.instance_status")
	runProgram(t, environment, "status").requireOneLine(t, 2, "no schema")
	runProgram(t, environment, "migrate").requireDone(t, "the schema fedsender is made: version", "source native")
	runProgram(t, environment, "migrate").requireDone(t, "up to date")
	runProgram(t, environment, "migrate", "--dry-run").requireDone(t, "nothing to do")
	runProgram(t, environment, "migrate", "--json").requireDone(t, `"source": "native"`, `"steps": []`)
	runProgram(t, environment, "migrate", "--source", "mastodon").requireOneLine(t, 2, "--source must be")
}

func TestMigrate_DownAsksBeforeRowsAreLost(t *testing.T) {
	url, environment := migrated(t)
	fill(t, url)
	runProgram(t, environment, "migrate", "--down").requireOneLine(t, 2, "3 rows of fedsender.instance", "--yes")
	runProgram(t, environment, "migrate", "--down", "--dry-run").requireDone(t, "drop schema fedsender")
	runProgram(t, environment, "status").requireDone(t)
	runProgram(t, environment, "migrate", "--down", "--yes").requireDone(t, "removed")
	runProgram(t, environment, "migrate", "--down").requireDone(t, "there is no schema fedsender")
}

func startServer(t *testing.T, options postgres.Options) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

func TestDatabase_IsReachedByEveryFormOfConnectionString(t *testing.T) {
	server := startServer(t, postgres.Options{Password: true, TLS: true})
	_, err := server.CreateDatabase(t.Context(), "app")
	require.NoError(t, err)
	port := strconv.Itoa(server.Port())
	file := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(file, []byte(server.URL("app")+"\n"), 0o600))
	quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(server.Password()) + "'"
	runProgram(t, []string{"DATABASE_URL=" + server.URL("app")}, "migrate").requireDone(t)

	for name, environment := range map[string][]string{
		"a URL over TLS":      {"DATABASE_URL=" + server.URL("app")},
		"a URL over a socket": {"DATABASE_URL=" + server.SocketURL("app")},
		"key=value":           {"DATABASE_URL=host=127.0.0.1 port=" + port + " user=postgres dbname=app sslmode=disable password=" + quoted},
		"a file":              {"DATABASE_URL_FILE=" + file},
		"PG variables":        {"PGHOST=127.0.0.1", "PGPORT=" + port, "PGUSER=postgres", "PGDATABASE=app", "PGPASSWORD=" + server.Password()},
		"PG variables, socket": {"PGHOST=" + server.SocketDir(), "PGPORT=" + port, "PGUSER=postgres", "PGDATABASE=app",
			"PGPASSWORD=" + server.Password()},
	} {
		t.Run(name, func(t *testing.T) {
			runProgram(t, environment, "dead-letters", "list").requireDone(t, "no dead letters")
			o := runProgram(t, environment, "doctor")
			require.NotContains(t, o.out+o.errors, server.Password())
			require.Contains(t, o.out, "database app as user postgres")
			requireRuns(t, environment)
		})
	}
}

func TestDatabase_ARoleWithoutSuperuserIsEnough(t *testing.T) {
	server := startServer(t, postgres.Options{})
	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer admin.Close(context.WithoutCancel(t.Context()))
	execute(t, admin, `create role app login`)
	execute(t, admin, `create database app owner app`)
	u, err := url.Parse(server.URL("app"))
	require.NoError(t, err)
	u.User = url.User("app")
	environment := []string{"DATABASE_URL=" + u.String()}

	runProgram(t, environment, "migrate").requireDone(t)
	o := runProgram(t, environment, "doctor")
	require.Equal(t, 0, o.code, o.out)
	require.Contains(t, o.out, "grant pg_read_all_stats to app")
	execute(t, admin, `grant pg_read_all_stats to app`)
	o = runProgram(t, environment, "doctor")
	require.NotContains(t, o.out, "grant pg_read_all_stats")
	requireRuns(t, environment)
	runProgram(t, environment, "status").requireDone(t)
}

// requireRuns starts sender run, waits until it is ready, and ends it.
func requireRuns(t *testing.T, environment []string) {
	t.Helper()
	cmd := command(t, append(environment, "SENDER_ADMIN_ADDR=127.0.0.1:0", "SENDER_LOG_FORMAT=json", "SENDER_MAX_LEASE=5"), "run")
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "serving the page") {
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	require.NoError(t, cmd.Wait(), said.String())
	require.Contains(t, said.String(), "stopped; all is saved")
	require.Contains(t, said.String(), "SENDER_MAX_LEASE is not known and does nothing; is SENDER_MAX_LEASES meant?")
}

func TestDoctor_FindsWhatIsWrong(t *testing.T) {
	url, environment := migrated(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))

	o := runProgram(t, append(environment, "SENDER_MAX_INFLIGHT=5"), "doctor")
	require.Equal(t, 0, o.code, o.out)
	require.Contains(t, o.out, "SENDER_MAX_INFLIGHT is not known")
	require.Contains(t, o.out, "max_prepared_transactions", "the shared server allows them")

	execute(t, conn, `alter table fedsender.activity alter column id set cache 50`)
	o = runProgram(t, environment, "doctor", "--json")
	require.Equal(t, 1, o.code)
	var findings []pg.Finding
	o.decode(t, &findings)
	verdicts := map[string]string{}
	for _, f := range findings {
		verdicts[f.What] = f.Verdict
		require.Equal(t, f.Verdict == pg.OK || f.Verdict == pg.Skipped, f.Mend == "", "%+v", f)
	}
	require.Equal(t, pg.Bad, verdicts["activity ids"])
	require.Equal(t, pg.OK, verdicts["database"])
	require.Equal(t, pg.OK, verdicts["lease connection"])
	require.Contains(t, verdicts, "signatures")

	o = runProgram(t, append(environment, "SENDER_SIGNER=go"), "doctor")
	require.Contains(t, o.out, "made by crypto/rsa, as SENDER_SIGNER says")

	o = runProgram(t, []string{fmt.Sprintf("DATABASE_URL=postgres://u:s3cret@127.0.0.1:%d/x", closedPort(t))}, "doctor")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.out, "connection refused")
	require.NotContains(t, o.out, "s3cret")
	require.Empty(t, o.errors)
}
