package pg_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

func start(t *testing.T, options postgres.Options) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// open returns the user and whether the connection is encrypted.
func open(t *testing.T, dsn string) (user string, encrypted bool) {
	t.Helper()
	cfg, err := pg.ParseConfig(dsn)
	require.NoError(t, err)
	pool, err := pg.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	err = pool.QueryRow(t.Context(), "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&user, &encrypted)
	require.NoError(t, err)
	return user, encrypted
}

func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

func TestParseConfig_ConnectsByEveryFormOfConnectionString(t *testing.T) {
	server := start(t, postgres.Options{Password: true, TLS: true})
	port := strconv.Itoa(server.Port())
	require.Subset(t, []byte(server.Password()), []byte("%@/"), "the password must be hard")

	t.Run("a URL over TLS", func(t *testing.T) {
		_, encrypted := open(t, server.URL("postgres"))
		require.True(t, encrypted)
	})
	t.Run("a URL over a socket", func(t *testing.T) {
		_, encrypted := open(t, server.SocketURL("postgres"))
		require.False(t, encrypted)
	})
	t.Run("key=value over TCP without TLS", func(t *testing.T) {
		_, encrypted := open(t, "host=127.0.0.1 port="+port+" user=postgres dbname=postgres sslmode=disable password="+quoted(server.Password()))
		require.False(t, encrypted)
	})
	t.Run("key=value over a socket", func(t *testing.T) {
		open(t, "host="+server.SocketDir()+" port="+port+" user=postgres dbname=postgres password="+quoted(server.Password()))
	})
	t.Run("PG variables alone", func(t *testing.T) {
		require.False(t, pg.IsConfigured())
		for name, value := range map[string]string{"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGPASSWORD": server.Password()} {
			t.Setenv(name, value)
		}
		require.True(t, pg.IsConfigured())
		user, encrypted := open(t, "")
		require.Equal(t, "postgres", user)
		require.True(t, encrypted, "sslmode=prefer takes TLS where there is some")
	})
	t.Run("PG variables fill in what a URL leaves open", func(t *testing.T) {
		t.Setenv("PGPASSWORD", server.Password())
		open(t, "postgres://postgres@127.0.0.1:"+port+"/postgres")
	})
	t.Run("the first of several hosts that answers", func(t *testing.T) {
		open(t, fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%s user=postgres dbname=postgres sslmode=disable target_session_attrs=read-write password=%s",
			closedPort(t), port, quoted(server.Password())))
	})
	t.Run("parameters of a pool are no parameters of the server", func(t *testing.T) {
		open(t, server.URL("postgres")+"&pool_max_conns=50")
	})
	t.Run("a role that is no superuser", func(t *testing.T) {
		admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
		require.NoError(t, err)
		_, err = admin.Exec(t.Context(), "create role plain login password 'p%@/'")
		require.NoError(t, err)
		require.NoError(t, admin.Close(t.Context()))
		user, _ := open(t, "postgres://plain:p%25%40%2F@127.0.0.1:"+port+"/postgres?sslmode=disable")
		require.Equal(t, "plain", user)
	})
}

func TestParseConfig_HasDefaultsThatGiveWay(t *testing.T) {
	cfg, err := pg.ParseConfig("postgres://u@db/x")
	require.NoError(t, err)
	require.Equal(t, 5*time.Second, cfg.ConnectTimeout)
	require.Equal(t, "fedsender", cfg.RuntimeParams["application_name"])
	require.Equal(t, pgx.QueryExecModeExec, cfg.DefaultQueryExecMode)
	require.Nil(t, cfg.ValidateConnect)

	cfg, err = pg.ParseConfig("postgres://u@db/x?connect_timeout=9&application_name=mine")
	require.NoError(t, err)
	require.Equal(t, 9*time.Second, cfg.ConnectTimeout)
	require.Equal(t, "mine", cfg.RuntimeParams["application_name"])

	cfg, err = pg.ParseConfig("postgres://u@db1,db2/x")
	require.NoError(t, err)
	require.NotNil(t, cfg.ValidateConnect, "of several hosts, the one that takes writes")
}

func TestParseConfig_ErrorsShowNothingOfTheString(t *testing.T) {
	for _, dsn := range []string{
		"postgres://user:s3cr%et@db/app",
		"postgres://user:s3cret/more@db/app",
		"postgres://user:s3cret#more@db/app",
		"postgres://user:s3cret?more@db/app",
		"postgres://user:x@s3cret/y@db/app",
		"postgres://user:1?s3cret@db/app",
		"postgres://user:a@s3cret@db/app",
		"postgres://user:a@s3cret@db",
		"postgres://user:@s3cret@db?sslmode=disable",
		"postgres://user:a@s3cret,more@db:5432/app",
		"postgres://user:a@s3cret?more@db/app",
		"postgres://user@s3cret:more@db/app",
		"host=a@s3cret user=x dbname=app",
		"postgres://user:p@db:s3cret/app",
		"mysql://user:s3cret@db/app",
		"user:s3cret@db",
		"password='s3cret",
		"host=db password=s3cret port=s3cret",
		"host=db password=s3cret connect_timeout=s3cret",
		"host=db password=s3cret target_session_attrs=s3cret",
		"host=db password=s3cret sslmode=s3cret",
		"host=db password=s3cret sslrootcert=/does/not/exist sslmode=verify-full",
		"host=db password=s3cret service=s3cret",
		"host=db password='a`: s3cret' port=x",
		"host=db password=s3cret statement_cache_capacity=s3cret",
	} {
		_, err := pg.ParseConfig(dsn)
		require.Error(t, err, dsn)
		require.NotContains(t, err.Error(), "s3cr", dsn)
		require.NotContains(t, err.Error(), "more", dsn)
		require.NotContains(t, err.Error(), "\n", dsn)
	}
}

func TestParseConfig_TakesAnAtSignWhereItMayStand(t *testing.T) {
	for _, dsn := range []string{
		"postgres://me%40tenant:p@db/app",
		"postgres:///app?host=/run&user=me@tenant",
		"host=/run/me@tenant user=me",
		"postgres://db:5432/app?user=me@tenant&password=x@y",
	} {
		_, err := pg.ParseConfig(dsn)
		require.NoError(t, err, dsn)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, dsn := range []string{"postgres://u:p@db/x", "host=db user=u", "postgres://u:p/w@db", "postgres://u:p?w@db", "", "=", "postgres://"} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		if strings.Contains(dsn, "service") || strings.Contains(dsn, "ssl") || strings.Contains(dsn, "pass") {
			return // they read files
		}
		if _, err := pg.ParseConfig(dsn); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("more than one line: %s", err)
		}
	})
}

func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestOpen_SaysInOneSentenceWhatFailedAndWhatToDo(t *testing.T) {
	server := start(t, postgres.Options{Password: true, Settings: map[string]string{"max_connections": "4", "superuser_reserved_connections": "0"}})
	port := strconv.Itoa(server.Port())
	right := quoted(server.Password())
	base := "host=127.0.0.1 port=" + port + " user=postgres sslmode=disable connect_timeout=2 "

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	silentPort := strconv.Itoa(silent.Addr().(*net.TCPAddr).Port)

	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	for _, sql := range []string{`create role barred password 's3cret'`, `create role guest login password 's3cret'`, `create database closed`, `revoke connect on database closed from public`} {
		_, err = admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(t.Context()))

	for name, c := range map[string]struct {
		dsn       string
		says      []string
		temporary bool
	}{
		"wrong password":   {base + "dbname=postgres password=s3cret", []string{"database postgres as user postgres on 127.0.0.1:" + port, "password authentication failed", "percent-encoded"}, false},
		"no password":      {base + "dbname=postgres", []string{"none was given"}, false},
		"no login":         {base + "user=barred dbname=postgres password=s3cret", []string{"not permitted to log in", `alter role "barred" login`}, false},
		"no connect":       {base + "user=guest dbname=closed password=s3cret", []string{"permission denied", `grant connect on database "closed" to "guest"`}, false},
		"unknown database": {base + "dbname=nothere password=" + right, []string{`database "nothere" does not exist`, "createdb"}, false},
		"refused":          {fmt.Sprintf("postgres://u:s3cret@127.0.0.1:%d/x?sslmode=disable", closedPort(t)), []string{"connection refused", "Postgres runs there"}, true},
		"silence":          {"postgres://u:s3cret@127.0.0.1:" + silentPort + "/x?sslmode=disable&connect_timeout=1", []string{"accepts connections and does not answer"}, true},
		"no such name":     {"postgres://u:s3cret@nothere.invalid/x?connect_timeout=5", []string{"nothere.invalid can't be resolved"}, true},
		"no such socket":   {"host=/does/not/exist user=u dbname=x password=s3cret", []string{"no such socket"}, true},
		"no TLS":           {"postgres://postgres:s3cret@127.0.0.1:" + port + "/postgres?sslmode=require", []string{"the server has no TLS"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := pg.ParseConfig(c.dsn)
			require.NoError(t, err)
			_, err = pg.Open(t.Context(), cfg)
			requireSentence(t, err, c.temporary, c.says...)
			require.NotContains(t, err.Error(), "s3cret")
			require.NotContains(t, err.Error(), server.Password())
		})
	}
	t.Run("too many connections", func(t *testing.T) {
		for range 4 {
			conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
			require.NoError(t, err)
			defer conn.Close(context.WithoutCancel(t.Context()))
		}
		cfg, err := pg.ParseConfig(server.URL("postgres"))
		require.NoError(t, err)
		_, err = pg.Open(t.Context(), cfg)
		requireSentence(t, err, true, "too many clients", "max_connections")
	})
}

func TestOpen_SaysWhatIsWrongWithTheCertificate(t *testing.T) {
	server := start(t, postgres.Options{TLS: true})
	u, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)
	u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {otherCA(t)}}.Encode()
	cfg, err := pg.ParseConfig(u.String())
	require.NoError(t, err)
	_, err = pg.Open(t.Context(), cfg)
	requireSentence(t, err, false, "TLS failed", "unknown authority", "sslrootcert")
}

func TestOpen_SaysWhatFailedAndNotThatOneOfTwoWaysHadNoTLS(t *testing.T) {
	server := start(t, postgres.Options{})
	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "alter role postgres set default_transaction_read_only = on")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))

	here := strconv.Itoa(server.Port())
	for name, c := range map[string]struct {
		dsn  string
		says string
		not  string
	}{
		"read-only":                            {"host=127.0.0.1 port=" + here, "takes writes", "TLS"},
		"read-only, several hosts":             {"host=127.0.0.1,127.0.0.1 port=" + here + "," + here, "takes writes", "TLS"},
		"read-only, and one that is not there": {fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%s", closedPort(t), here), "takes writes", "TLS"},
		"TLS is insisted on":                   {"sslmode=require host=127.0.0.1,127.0.0.1 port=" + here + "," + here, "the server has no TLS", "writes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PGSSLMODE", "") // the default
			cfg, err := pg.ParseConfig(c.dsn + " user=postgres dbname=postgres connect_timeout=2")
			require.NoError(t, err)
			pg.Confine(cfg, func(pg.ServerID) error { return nil })
			_, err = pg.Open(t.Context(), cfg)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), c.not)
			require.Equal(t, c.says == "takes writes", pg.IsNotReady(err))
		})
	}
}

func TestOpen_SaysWhatFailedWithTLSWhereTheServerInsistsOnIt(t *testing.T) {
	server := start(t, postgres.Options{TLS: true})
	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "alter role postgres set default_transaction_read_only = on")
	require.NoError(t, err)
	hba := filepath.Join(server.DataDir(), "pg_hba.conf")
	require.NoError(t, os.WriteFile(hba, []byte("hostssl all all 127.0.0.1/32 trust\n"), 0o600))
	_, err = admin.Exec(t.Context(), "select pg_reload_conf()")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))

	cfg, err := pg.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", server.Port()))
	require.NoError(t, err)
	pg.Confine(cfg, func(pg.ServerID) error { return nil })
	require.Eventually(t, func() bool { // the server reads its file a little later
		_, err = pgx.ConnectConfig(t.Context(), cfg)
		return strings.Contains(err.Error(), "no encryption")
	}, 30*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, pg.Explain(err, cfg), "takes writes")
}

// otherCA is the certificate of another server.
func otherCA(t *testing.T) string {
	t.Helper()
	return filepath.Clean(start(t, postgres.Options{TLS: true}).CAFile())
}

func requireSentence(t *testing.T, err error, temporary bool, says ...string) {
	t.Helper()
	var failed *pg.ConnectError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, temporary, failed.Temporary, err.Error())
	require.NotContains(t, err.Error(), "\n")
	for _, part := range says {
		require.Contains(t, err.Error(), part)
	}
}
