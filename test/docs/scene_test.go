package docs

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// What pages call an actor and remote servers.
const (
	ann     = "https://my.example/users/ann"
	remote  = "remote.example"
	another = "another.example"
)

// superuser is the one of the servers of the tests.
const superuser = "postgres"

// site is a server that is in operation, with a database, an actor, followers and a fediverse around it.
type site struct {
	*reader
	fedi *fediverse.Fediverse
	role string // of the processes: no superuser, and owner of the schema alone
	url  string // of the database, as that role
	pem  string
	sent []string // ids of what was posted, in order
}

// newSite has Ann, with followers on the domains.
func newSite(t *testing.T, environment, fill []string, domains ...string) *site {
	t.Helper()
	s := emptySite(t, environment, fill)
	s.asAdmin(`create role ` + s.role + ` login`)
	s.asAdmin(`grant pg_read_all_stats to ` + s.role)
	s.asAdmin(`grant create on database ` + s.database() + ` to ` + s.role)
	ok(t, fleet.Migrate(t.Context(), s.url))
	s.settle(domains...)
	return s
}

// roles counts those of the sites: all databases of a server have the same.
var roles atomic.Int64

// emptySite has neither the role nor the schema yet.
func emptySite(t *testing.T, environment, fill []string) *site {
	t.Helper()
	s := &site{role: fmt.Sprintf("sender_%d", roles.Add(1))}
	server := postgres.Shared(t)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { execute(ctx, t, server.URL("postgres"), `drop role if exists `+s.role) }) // when its databases are gone
	s.url = as(t, s.role, postgres.Database(t))
	s.fedi = fleet.StrictFediverse(t)
	environment = append([]string{"SENDER_CONNECT_TO=" + s.fedi.Addr(), "SENDER_CA_FILE=" + s.fedi.CAFile(), "DATABASE_URL=" + s.url}, environment...)
	s.reader = newReader(t, environment, fill...)
	ok(t, os.WriteFile(filepath.Join(s.dir, urlFile), []byte(s.url+"\n"), 0o600))
	return s
}

// settle gives Ann an account, and followers on the domains.
func (s *site) settle(domains ...string) {
	s.t.Helper()
	key, text, err := fleet.NewKey()
	ok(s.t, err)
	s.pem = text
	s.fedi.Register(ann+"#main-key", &key.PublicKey)
	s.exec(`insert into fedsender.actor (ap_id, private_key_pem) values ($1, $2)`, ann, s.pem)
	for _, domain := range domains {
		s.exec(`insert into fedsender.instance (domain, shared_inbox) values ($1, 'https://' || $1 || '/inbox')`, domain)
		s.exec(`
			insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox, shared_inbox)
			select a.id, 'https://' || i.domain || '/users/bob', i.id, i.shared_inbox, i.shared_inbox
			from fedsender.actor a, fedsender.instance i
			where i.domain = $1`, domain)
	}
}

// exec runs a statement on the database that the site uses at present, as its role.
func (s *site) exec(text string, args ...any) {
	s.t.Helper()
	execute(context.WithoutCancel(s.ctx), s.t, s.url, text, args...) // also when the test ends
}

// asAdmin does so as a superuser.
func (s *site) asAdmin(text string) {
	s.t.Helper()
	execute(context.WithoutCancel(s.ctx), s.t, s.admin(), text)
}

// admin is the database that the site uses at present, for a superuser.
func (s *site) admin() string {
	s.t.Helper()
	return as(s.t, superuser, s.url)
}

func execute(ctx context.Context, t *testing.T, url, text string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	ok(t, err)
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// as is the URL for another role.
func as(t *testing.T, role, of string) string {
	t.Helper()
	u, err := url.Parse(of)
	ok(t, err)
	u.User = url.User(role)
	return u.String()
}

// until waits for a condition in the database.
func (s *site) until(what, text string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	ok(s.t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	ok(s.t, fleet.Until(ctx, what, func() (done bool, err error) {
		err = conn.QueryRow(ctx, "select coalesce(("+text+"), false)", args...).Scan(&done)
		return done, err
	}))
}

// post inserts an activity of Ann's to her followers.
func (s *site) post() string {
	s.t.Helper()
	id := fmt.Sprintf("https://my.example/notes/%d/create", len(s.sent)+1)
	s.exec(`
		select fedsender.enqueue($1, json_build_object('id', $1::text, 'type', 'Create', 'actor', $2::text, 'object', $1::text || '/note'), $2,
		  followers_of => array(select id from fedsender.actor))`, id, ann)
	s.sent = append(s.sent, id)
	return id
}

// arrived waits until the domain has taken exactly these, whatever the order.
func (s *site) arrived(domain string, ids ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	ok(s.t, s.fedi.Ledger().WaitTaken(ctx, domain, ids...))
}

// saved waits until all cursors are at the newest activity: nothing is sent again after this.
func (s *site) saved() {
	s.t.Helper()
	s.until("all cursors are saved", `
		select bool_and(last_successful_id = (select max(id) from fedsender.activity)) from fedsender.queue_state`)
}

// unit starts or stops what pages run under systemd.
func (s *site) unit(verb string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.run("a step of the test", "systemctl "+verb+" "+name, 0)
	}
}

// holds waits until so many processes hold all instances.
func (s *site) holds(processes int) {
	s.t.Helper()
	s.until("each process has its part", `
		select count(distinct pid) = $1 and count(distinct instance_id) = (select count(*) from fedsender.instance) from fedsender.lease`, processes)
}

// database is the name of the one that the site uses at present.
func (s *site) database() string {
	s.t.Helper()
	u, err := url.Parse(s.url)
	ok(s.t, err)
	return strings.TrimPrefix(u.Path, "/")
}
