package docs

import (
	"context"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/pgbouncer"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestScaleOut_ShowsWhatAProcessMoreDoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, []string{"127.0.0.1:9465", freeAddress(t)}, remote, another, "third.example", "fourth.example")
	s.unit("start", "sender")
	s.holds(1)
	s.follow("docs/scale-out.md", nil)
	s.arrived(remote)
}

func TestBlock_SendsNothingAndSkipsWhatWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote, another)
	s.unit("start", "sender")
	first := s.post()
	s.arrived(remote, first)
	var second string
	s.follow("docs/block.md", map[string]func(){
		"blocked": func() {
			second = s.post()
			s.arrived(another, first, second)
		},
	})
	third := s.post()
	s.arrived(another, first, second, third)
	s.arrived(remote, first, third)
}

func TestCatchUp_SendsWhatWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote, another)
	s.fedi.Instance(remote).SetLink(fediverse.Down)
	s.unit("start", "sender")
	first := s.post()
	s.arrived(another, first)
	s.follow("docs/catch-up.md", map[string]func(){
		"retried": func() {
			s.fedi.Instance(remote).SetLink(fediverse.Up)
			s.exec(`select fedsender.retry_now(domain) from fedsender.instance_status where state = 'failing'`)
			s.arrived(remote, first)
		},
		"replayed": func() { s.arrived(remote, first, first) },
	})
	s.arrived(another, first)
}

func TestPoolers_TheSecondAddressIsEnough(t *testing.T) {
	t.Parallel()
	if !pgbouncer.Installed() {
		t.Skip("there is no PgBouncer on this machine; scripts/setup installs it on Debian")
	}
	server := postgres.Shared(t)
	pooler, err := pgbouncer.Start(t.Context(), server, pgbouncer.Options{Mode: pgbouncer.Transaction})
	ok(t, err)
	t.Cleanup(func() { ok(t, pooler.Close()) })
	s := newSite(t, nil, nil, remote)
	s.fillIn("postgres://sender@pooler.internal:6432/app", pooler.URL(s.database()), "postgres://sender@db.internal:5432/app", s.url)
	s.follow("docs/poolers.md", nil)
	first := s.post()
	s.arrived(remote, first)
}

// backedUp is a site whose backup is of a moment when another.example was away, and had it all after it.
func backedUp(t *testing.T) (s *site, first, second string, steps map[string]func()) {
	t.Helper()
	s = newSite(t, nil, nil, remote, another)
	name := s.database() + "_restored"
	restored := as(t, s.role, postgres.Shared(t).URL(name))
	s.fillIn("postgres://postgres@db.internal/app_restored", as(t, superuser, restored), "postgres://postgres@db.internal/app", s.admin(),
		"postgres://sender:SECRET@db.internal/app_restored", restored, "app_restored", name)
	t.Cleanup(func() { ok(t, postgres.Shared(t).DropDatabase(context.WithoutCancel(s.ctx), name)) })
	s.asAdmin(`create table note (id bigint generated always as identity primary key)`)
	s.unit("start", "sender")
	first = s.post()
	s.arrived(another, first)
	s.saved()
	s.fedi.Instance(another).SetLink(fediverse.Down)
	second = s.post()
	s.arrived(remote, first, second)
	s.until("the cursor is saved", `
		select count(*) = 1 from fedsender.queue_state where last_successful_id = (select max(id) from fedsender.activity)`)
	steps = map[string]func(){
		"dumped": func() {
			s.fedi.Instance(another).SetLink(fediverse.Up)
			third := s.post()
			s.exec(`select fedsender.retry_now($1)`, another)
			s.arrived(another, first, second, third)
			s.arrived(remote, first, second, third)
			s.url = restored
		},
		"skip": func() {},
	}
	return s, first, second, steps
}

func TestBackupAndRestore_WithASkipNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	s, first, second, steps := backedUp(t)
	s.follow("docs/backup-and-restore.md", steps)
	after := s.post()
	s.arrived(remote, first, second, s.sent[2], after)
	s.arrived(another, first, second, s.sent[2], after)
}

func TestBackupAndRestore_WithoutASkipWhatWaitedIsSentAgain(t *testing.T) {
	t.Parallel()
	s, first, second, steps := backedUp(t)
	s.leave = "skip"
	delete(steps, "skip")
	s.follow("docs/backup-and-restore.md", steps)
	after := s.post()
	s.arrived(remote, first, second, s.sent[2], after)
	s.arrived(another, first, second, second, s.sent[2], after)
}

func TestMoveTheDatabase_LosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote, another)
	server, err := postgres.Start(t.Context(), postgres.Options{})
	ok(t, err)
	t.Cleanup(func() { ok(t, server.Close()) })
	created, err := server.CreateDatabase(t.Context(), "app")
	ok(t, err)
	to := as(t, s.role, created)
	s.fillIn("postgres://postgres@old.internal/app", s.admin(), "postgres://postgres@new.internal/app", created,
		"postgres://sender:SECRET@new.internal/app", to)
	s.unit("start", "sender")
	first := s.post()
	s.arrived(another, first)
	s.fedi.Instance(another).SetLink(fediverse.Down)
	second := s.post()
	s.arrived(remote, first, second)
	s.follow("docs/move-the-database.md", map[string]func(){"moved": func() { s.url = to }})
	s.fedi.Instance(another).SetLink(fediverse.Up)
	s.exec(`select fedsender.retry_now($1)`, another)
	third := s.post()
	s.arrived(remote, first, second, third)
	s.arrived(another, first, second, third)
}

func TestUpgrade_LosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote, another)
	s.unit("start", "sender@9464", "sender@9465")
	s.holds(2)
	ids := []string{s.post()}
	s.exec(`update fedsender.schema_version set version = version + 1`) // as the next release does, under processes of this one
	ids = append(ids, s.post())
	s.arrived(remote, ids...)
	s.run("a process of this release that starts", "sender run", 2)
	s.exec(`update fedsender.schema_version set version = version - 1`)
	s.follow("docs/upgrade.md", map[string]func(){
		"restarted": func() { ids = append(ids, s.post()) },
	})
	ids = append(ids, s.post())
	s.arrived(remote, ids...)
	s.arrived(another, ids...)
}

func TestTraces_TheStatementSends(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote)
	s.unit("start", "sender")
	s.follow("docs/traces.md", map[string]func(){"written": func() { s.arrived(remote, "https://my.example/notes/1/create") }})
}
