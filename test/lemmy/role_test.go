package lemmy_test

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// roleScript is what docs tell an admin to run.
const roleScript = "../../deploy/lemmy/role.sql"

// newRoleScene is a scene whose senders and commands come as the role of the script. A server has it once, for all its
// databases, so each such scene has a server of its own.
func newRoleScene(t *testing.T, line lemmy.Line) *scene {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{})
	ok(t, err)
	t.Cleanup(func() { ok(t, server.Close()) })
	at, err := server.CreateDatabase(t.Context(), "lemmy")
	ok(t, err)
	conn, err := pgx.Connect(t.Context(), at)
	ok(t, err)
	ok(t, lemmy.Create(t.Context(), conn, line))
	ok(t, conn.Close(t.Context()))
	s := newSceneOn(t, line, at)
	// What else Lemmy has and the role must not see.
	s.exec(`create table local_user (id serial primary key, password_encrypted text)`)
	s.asRole()
	return s
}

// asRole runs the script and has what comes use its role.
func (s *scene) asRole() {
	s.t.Helper()
	text, err := os.ReadFile(roleScript)
	ok(s.t, err)
	for range 2 { // it may be run again
		s.exec(string(text))
	}
	s.exec(`alter role fedsender password 'secret'`)
	u, err := url.Parse(s.url)
	ok(s.t, err)
	u.User = url.UserPassword("fedsender", "secret")
	s.url = u.String()
}

// roleDB is a connection with the rights of the role.
func (s *scene) roleDB() *pgx.Conn {
	s.t.Helper()
	return connect(s.t, s.url)
}

func TestLemmy_Role_IsEnoughForEverything(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newRoleScene(t, line)
		a, fresh := s.remote("a.example"), s.stranger("fresh.example")
		s.exec(`update instance set {updated} = now() - interval '2 days' where id = $1`, a)
		s.start(2)
		if !query[bool](s, `select rings from fedsender.source`) {
			t.Error("it makes no triggers")
		}
		s.until("the other has begun", `select exists (select from federation_queue_state where instance_id = $1)`, fresh)
		first := s.send(everywhere)
		s.arrived("a.example", first)
		s.arrived("fresh.example", first)
		s.settled(a)
		s.until("it was seen", `select {updated} > now() - interval '1 hour' from instance where id = $1`, a)
		for _, verb := range [][]string{
			{"pause", "a.example"}, {"resume", "a.example"}, {"retry", "a.example"}, {"skip", "a.example", "--to", "latest"},
			{"replay", "a.example", "--since", "1h"}, {"status"}, {"trace", first}, {"dead-letters", "list"},
		} {
			s.must(verb...)
		}
		if text, code := s.command("doctor"); code != 0 || strings.Contains(text, "grant ") {
			t.Errorf("doctor ends with %d:\n%s", code, text)
		}
		s.settled(a)
		s.exec(`delete from sent_activity where id = (select max(id) from sent_activity)`)
		if text, _ := s.command("doctor"); strings.Contains(text, "beyond the newest") {
			t.Errorf("doctor does not know that the newest row was deleted:\n%s", text)
		}
		s.halt()
		s.must("migrate", "--down", "--yes")
	})
}

func TestLemmy_Role_CanNeitherReadNorWriteWhatIsNotItsBusiness(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newRoleScene(t, line)
		conn := s.roleDB()
		for _, text := range []string{
			`select * from local_user`,
			`insert into sent_activity (ap_id) values ('x')`,
			`update sent_activity set data = '{}'`,
			`delete from sent_activity`,
			`update person set private_key = null`,
			`delete from community`,
			`update instance set domain = 'x.example'`,
			`delete from instance`,
			`delete from federation_queue_state`,
			`insert into federation_blocklist values (1)`,
			`update local_site set federation_enabled = false`,
			`truncate sent_activity`,
			`create table public.x (a int)`,
			`select nextval('sent_activity_id_seq')`,
			`alter table sent_activity add column x int`,
		} {
			if _, err := conn.Exec(s.ctx, text); err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %v, want that it is not allowed", text, err)
			}
		}
	})
}

func TestLemmy_Beside_WithoutTheRightToMakeTriggersItPollsAndDoctorSaysSo(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newRoleScene(t, line)
		s.exec(`revoke trigger on all tables in schema public from fedsender`)
		a, fresh := s.remote("a.example"), s.stranger("fresh.example")
		older := s.send() // nothing older is sent to who has no cursor
		s.start(1)
		if query[bool](s, `select rings from fedsender.source`) {
			t.Error("it says that triggers ring")
		}
		s.arrived("a.example", older)
		s.until("the other has begun", `select last_successful_id = $2 from federation_queue_state where instance_id = $1`, fresh, s.newest())
		if n := query[int](s, `select count(*) from pg_trigger where not tgisinternal and tgrelid::regclass::text not like 'fedsender.%'`); n != 0 {
			t.Errorf("there are %d triggers on Lemmy's tables", n)
		}
		first := s.send(by(s.person))
		s.arrived("a.example", older, first)
		s.arrived("fresh.example", first)
		s.settled(a)
		second := s.send() // while everybody sleeps
		s.arrived("a.example", older, first, second)
		if text, _ := s.command("doctor"); !strings.Contains(text, "grant trigger on") {
			t.Errorf("doctor does not name the right:\n%s", text)
		}
		// Seen within a minute, as is a key that was exchanged.
		s.exec(`update person set private_key = (select private_key from community where id = $1) where id = $2`, s.community.ID, s.person.ID)
		s.loneFan(a, "a.example", "joe")
		for s.paths("a.example")["/u/joe/inbox"] == 0 && !t.Failed() {
			s.send()
			s.settled(a)
		}
		s.fedi.Register(s.person.KeyID(), &s.community.Key.PublicKey)
		s.arrived("fresh.example", append(s.accepted("fresh.example"), s.send(by(s.person)))...)
	})
}
