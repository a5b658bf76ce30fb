package postgres_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/postgres"
)

func run(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func replica(t *testing.T, of *postgres.Server) *postgres.Server {
	t.Helper()
	server, err := of.Replica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, server.Close()) })
	return server
}

func TestReplica_FollowsIsPromotedAndIsFollowed(t *testing.T) {
	primary := start(t, postgres.Options{Password: true, TLS: true})
	standby := replica(t, primary)
	must(t, run(t, primary.URL("postgres"), "create table word as select 'first' as word"))
	must(t, standby.WaitReplayed(t.Context(), primary))
	const words = "select string_agg(word, ',' order by word) from word"
	wantEqual(t, "the replica's table", query[string](t, standby.URL("postgres"), words), "first")
	if err := run(t, standby.URL("postgres"), "insert into word values ('never')"); err == nil {
		t.Error("the replica took a write")
	}

	must(t, standby.Detach(t.Context()))
	must(t, run(t, primary.URL("postgres"), "insert into word values ('lost')"))
	must(t, standby.Promote(t.Context()))
	must(t, run(t, standby.URL("postgres"), "insert into word values ('second')"))
	wantEqual(t, "the table of the new primary", query[string](t, standby.URL("postgres"), words), "first,second")

	must(t, primary.Kill())
	port := primary.Port()
	must(t, primary.Follow(t.Context(), standby))
	wantEqual(t, "the port", primary.Port(), port)
	must(t, primary.WaitReplayed(t.Context(), standby))
	wantEqual(t, "the former primary is in recovery", query[bool](t, primary.URL("postgres"), "select pg_is_in_recovery()"), true)
	wantEqual(t, "the table of the former primary", query[string](t, primary.URL("postgres"), words), "first,second")
	must(t, primary.Restart(t.Context()))
	both := postgres.URLs("postgres", primary, standby) + "&target_session_attrs=read-write"
	wantEqual(t, "the port that takes writes", query[int](t, both, "select inet_server_port()"), standby.Port())
}

func TestServer_ListensWhereItIsTold(t *testing.T) {
	address := netip.MustParsePrefix("127.8.0.1/24")
	server := start(t, postgres.Options{Addresses: []netip.Prefix{address}, Password: true})
	got := query[string](t, server.AddressURL(address.Addr(), "postgres"), "select host(inet_server_addr())")
	wantEqual(t, "the server's address", got, address.Addr().String())
	stranger := fmt.Sprintf("postgres://postgres@%s:%d/postgres?sslmode=disable", address.Addr(), server.Port())
	if conn, err := pgx.Connect(t.Context(), stranger); err == nil {
		conn.Close(t.Context())
		t.Error("a connection without the password was taken")
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
