package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/test/transcript"
)

// journal is what a program wrote so far.
type journal struct{ transcript.Transcript }

func (j *journal) await(t *testing.T, says string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(j.String(), says) }, 30*time.Second, 20*time.Millisecond, "%s", lazily(func() string { return says + "\n" + j.String() }))
}

// lazily is text that is made when it is shown.
type lazily func() string

func (l lazily) String() string { return l() }

// mount is a directory as Kubernetes mounts a secret: what it shows is swapped by a symbolic link.
type mount struct {
	dir      string
	versions int
}

func (m *mount) file(name string) string { return filepath.Join(m.dir, name) }

func (m *mount) swap(t *testing.T, files map[string]string) {
	t.Helper()
	m.versions++
	version := fmt.Sprintf("..%d", m.versions)
	require.NoError(t, os.Mkdir(m.file(version), 0o700))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, version, name), []byte(text+"\n"), 0o600))
		if m.versions == 1 {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), m.file(name)))
		}
	}
	require.NoError(t, os.Symlink(version, m.file("..next")))
	require.NoError(t, os.Rename(m.file("..next"), m.file("..data")))
}

func TestRun_TakesNewSecretsWithoutGivingLeasesUp(t *testing.T) {
	const first, second, third, unlucky = "first-password", "second-p%w/rd", "third-password", "never-a-password"
	server := startServer(t, postgres.Options{Password: true})
	_, err := server.CreateDatabase(t.Context(), "app")
	require.NoError(t, err)
	admin, err := pgx.Connect(t.Context(), server.URL("app"))
	require.NoError(t, err)
	defer admin.Close(context.WithoutCancel(t.Context()))
	execute(t, admin, `create role app login password '`+first+`'; alter database app owner to app; grant pg_read_all_stats to app`)
	at := func(user, password string) string {
		u, err := url.Parse(server.URL("app"))
		require.NoError(t, err)
		u.User = url.UserPassword(user, password)
		return u.String()
	}
	runProgram(t, []string{"DATABASE_URL=" + at("app", first)}, "migrate").requireDone(t)
	fill(t, server.URL("app"))

	secrets := &mount{dir: t.TempDir()}
	authority := authorityPEM(t)
	set := func(dsn, token string) {
		secrets.swap(t, map[string]string{"url": dsn, "token": token, "ca": authority})
	}
	set(at("app", first), "first-token")
	address := freeAddress(t)
	cmd := command(t, []string{"DATABASE_URL_FILE=" + secrets.file("url"), "SENDER_ADMIN_TOKEN_FILE=" + secrets.file("token"),
		"SENDER_CA_FILE=" + secrets.file("ca"),
		"SENDER_ADMIN_ADDR=" + address, "SENDER_LOG_LEVEL=debug"}, "run")
	log := &journal{}
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	awaitStatus(t, address, "/readyz", "", http.StatusOK)
	session := leaseSession(t, admin)

	t.Log("a token is replaced at once, when asked")
	set(at("app", first), "second-token")
	hangUp(t, cmd)
	awaitStatus(t, address, "/debug/pprof/cmdline", "second-token", http.StatusOK)
	require.Equal(t, http.StatusUnauthorized, status(t, address, "/debug/pprof/cmdline", "first-token"))

	t.Log("so are certificates of authorities")
	trusted := authority
	authority = "nothing"
	set(at("app", first), "second-token")
	hangUp(t, cmd)
	log.await(t, "SENDER_CA_FILE can't be replaced")
	authority = trusted + authorityPEM(t)
	set(at("app", first), "second-token")
	hangUp(t, cmd)
	log.await(t, "SENDER_CA_FILE holds other certificates")

	t.Log("what can't be used is said, and kept out")
	set("postgres://app:"+unlucky+"/x@db/app", "second-token")
	hangUp(t, cmd)
	log.await(t, "its new value has an @ in the host or behind it")
	set(strings.Replace(at("app", first), "/app?", "/other?", 1), "second-token")
	hangUp(t, cmd)
	log.await(t, "it leads to another database")
	set(at("app", second), "second-token")
	hangUp(t, cmd)
	log.await(t, "the server refuses it")

	t.Log("a password that was in the file too early is taken when the server takes it")
	execute(t, admin, `alter role app password '`+second+`'`)
	hangUp(t, cmd)
	log.await(t, "DATABASE_URL has a new value, and the server takes it")
	require.Equal(t, session, leaseSession(t, admin), "the leases stay where they are")

	t.Log("and all is made anew with it when the connections are gone")
	execute(t, admin, `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`)
	require.Eventually(t, func() bool { return leaseSession(t, admin) != session }, 30*time.Second, 50*time.Millisecond)
	awaitStatus(t, address, "/readyz", "", http.StatusOK)

	t.Log("another role comes by the file alone")
	execute(t, admin, `create role app2 login in role app password '`+third+`'; grant pg_read_all_stats to app2`)
	set(at("app2", third), "third-token")
	require.Eventually(t, func() bool {
		return strings.Count(log.String(), "DATABASE_URL has a new value, and the server takes it") == 2
	}, 30*time.Second, 50*time.Millisecond)
	execute(t, admin, `alter role app nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`)
	require.Eventually(t, func() bool {
		var users int
		require.NoError(t, admin.QueryRow(t.Context(), `
			select count(*) from fedsender.lease l join pg_stat_activity a using (pid) where a.usename = 'app2'`).Scan(&users))
		return users > 0
	}, 30*time.Second, 50*time.Millisecond)
	awaitStatus(t, address, "/readyz", "third-token", http.StatusOK)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), log.String())
	require.Contains(t, log.String(), "stopped; all is saved")
	for _, secret := range []string{first, second, url.PathEscape(second), third, unlucky, "first-token", "second-token", "third-token"} {
		require.NotContains(t, log.String(), secret)
	}
}

// authorityPEM is the certificate of a new one.
func authorityPEM(t *testing.T) string {
	t.Helper()
	authority, err := fediverse.NewAuthority(t.TempDir())
	require.NoError(t, err)
	text, err := os.ReadFile(authority.CAFile())
	require.NoError(t, err)
	return string(text)
}

func hangUp(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
}

// leaseSession is the process of the server that has the leases; 0: none has.
func leaseSession(t *testing.T, admin *pgx.Conn) (pid int32) {
	t.Helper()
	require.NoError(t, admin.QueryRow(t.Context(), `select coalesce(min(pid), 0) from fedsender.lease`).Scan(&pid))
	return pid
}

func status(t *testing.T, address, path, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func awaitStatus(t *testing.T, address, path, token string, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return status(t, address, path, token) == want }, 30*time.Second, 20*time.Millisecond)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", closedPort(t))
}
