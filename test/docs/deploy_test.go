package docs

import "testing"

func TestDeploy_ARoleOneFileAndOneVariableAreEnough(t *testing.T) {
	t.Parallel()
	s := emptySite(t, nil, nil)
	s.fillIn("postgres://postgres@db.internal/app", s.admin(), "postgres://sender:SECRET@db.internal/app", s.url,
		"role sender", "role "+s.role, "database app to sender", "database "+s.database()+" to "+s.role, "stats to sender", "stats to "+s.role)
	var first string
	s.follow("docs/deploy.md", map[string]func(){
		"migrated": func() {
			s.settle(remote, another)
			first = s.post()
		},
	})
	s.arrived(remote, first)
	s.arrived(another, first)
}
