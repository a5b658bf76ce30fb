package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }

func start(t *testing.T, options postgres.Options) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func query[T any](t *testing.T, url, sql string) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func wantEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestServer_TakesSettingsAndKeepsDataOverARestart(t *testing.T) {
	server := start(t, postgres.Options{Settings: map[string]string{"max_connections": "37", "application_name": "it's"}})
	url, err := server.CreateDatabase(t.Context(), `odd "name`)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "max_connections", query[string](t, url, "show max_connections"), "37")
	wantEqual(t, "application_name", query[string](t, url, "show application_name"), "it's")
	wantEqual(t, "fsync", query[string](t, url, "show fsync"), "off")
	query[int](t, url, "with made as (select 1) select count(*)::int from made")
	query[string](t, url, "select set_config('fedsender.x', '1', false)")
	for _, stop := range []func() error{
		func() error { return nil },
		func() error { return server.Stop(postgres.Fast) },
		func() error { return server.Stop(postgres.Immediate) },
		server.Kill,
	} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "the database", query[string](t, url, "select current_database()"), `odd "name`)
	}
}

func TestServer_IsReachedByPasswordSocketAndTLS(t *testing.T) {
	server := start(t, postgres.Options{Password: true, TLS: true, Durable: true})
	wantEqual(t, "ssl", query[bool](t, server.URL("postgres"), "select ssl from pg_stat_ssl where pid = pg_backend_pid()"), true)
	wantEqual(t, "ssl", query[bool](t, server.SocketURL("postgres"), "select ssl from pg_stat_ssl where pid = pg_backend_pid()"), false)
	wantEqual(t, "fsync", query[string](t, server.SocketURL("postgres"), "show fsync"), "on")
	plain := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", server.Port())
	if conn, err := pgx.Connect(t.Context(), plain); err == nil {
		conn.Close(t.Context())
		t.Error("a connection without the password was taken")
	}
}

func TestServer_LeavesNothingBehind(t *testing.T) {
	for name, end := range map[string]func(*postgres.Server) error{
		"Close": func(*postgres.Server) error { return nil },
		"Kill":  (*postgres.Server).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, postgres.Options{})
			pid, home := server.PID(), filepath.Dir(server.DataDir())
			segment := sharedMemory(t, server)
			if !segmentExists(t, segment) {
				t.Fatalf("the test can't see the shared memory %s of the server", segment)
			}
			if err := end(server); err != nil {
				t.Fatal(err)
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("the process is still there: %v", err)
			}
			if _, err := os.Stat(home); !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v", err)
			}
			if segmentExists(t, segment) {
				t.Error("the shared memory is still there")
			}
		})
	}
}

// sharedMemory is the id of the server's System V segment, from line 7 of postmaster.pid: key, id.
func sharedMemory(t *testing.T, server *postgres.Server) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.DataDir(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(strings.Split(string(text), "\n")[6])[1]
}

func segmentExists(t *testing.T, id string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Fields(line)[1] == id {
			return true
		}
	}
	return false
}

func TestStart_SaysWhatIsWrong(t *testing.T) {
	for name, options := range map[string]postgres.Options{
		"a setting":  {Settings: map[string]string{"max_connections": "many"}},
		"the source": {Binaries: "elsewhere"},
	} {
		if server, err := postgres.Start(t.Context(), options); err == nil {
			t.Errorf("%s: it started", name)
			server.Close()
		}
	}
}

func TestDatabase_IsFreshForEachTest(t *testing.T) {
	var urls []string
	for range 2 {
		t.Run("", func(t *testing.T) {
			url := postgres.Database(t, func(ctx context.Context, url string) error {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				_, err = conn.Exec(ctx, "create table thing (id int)")
				return err
			})
			wantEqual(t, "the number of tables", query[int](t, url, "select count(*)::int from pg_tables where tablename = 'thing'"), 1)
			urls = append(urls, url)
		})
	}
	for _, url := range urls {
		if conn, err := pgx.Connect(t.Context(), url); err == nil {
			conn.Close(t.Context())
			t.Errorf("%s was not dropped", url)
		}
	}
}
