package docs

import (
	"net"
	"testing"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestTutorial_ArrivesAtADeliveredPost(t *testing.T) {
	t.Parallel()
	r := newReader(t, nil, "127.0.0.1:8480", freeAddress(t))
	r.follow("docs/tutorial.md", nil)
}

func TestApplications_StatementsSendWhatTheySay(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil)
	s.exec(`delete from fedsender.actor`)
	s.asAdmin(`create table note (id bigint primary key, author text, html text)`)
	s.asAdmin(`create role app`)
	s.asAdmin(`grant all on note to app`)
	s.asAdmin(`grant app to ` + s.role)
	t.Cleanup(func() { s.asAdmin(`drop owned by app`); s.asAdmin(`drop role app`) })
	s.unit("start", "sender")
	s.follow("docs/applications.md", map[string]func(){
		"grants": func() { s.run("as the application", "export PGOPTIONS='-c role=app'; export PEM='"+s.pem+"'", 0) },
		"actor":  func() {},
		"post": func() {
			s.arrived(remote, "https://my.example/notes/42/create")
			s.arrived("other.example", "https://my.example/notes/42/create")
		},
		"accept": func() {
			s.arrived(remote, "https://my.example/notes/42/create", "https://my.example/follows/7/accept")
		},
	})
}
