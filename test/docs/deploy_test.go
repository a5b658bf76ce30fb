package docs

import "testing"

func TestDeploy_OneFileAndOneVariableAreEnough(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, remote, another)
	s.fillIn("postgres://sender:SECRET@db.internal/app", s.url)
	first := s.post()
	s.follow("docs/deploy.md", nil)
	s.arrived(remote, first)
	s.arrived(another, first)
}
