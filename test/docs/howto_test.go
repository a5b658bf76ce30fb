package docs

import (
	"net/url"
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
	u, err := url.Parse(s.url)
	ok(t, err)
	s.fillIn("postgres://sender@pooler.internal:6432/app", pooler.URL(u.Path[1:]), "postgres://sender@db.internal:5432/app", s.url)
	s.follow("docs/poolers.md", nil)
	first := s.post()
	s.arrived(remote, first)
}
