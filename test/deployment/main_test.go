// Package deployment tests what is in deploy and the Dockerfile: it runs the services of the Compose demo by hand, and compares
// what the files say with the program. What needs Helm, Kubernetes' types or Compose's own parser is in charts, a module of its
// own; what needs a container runtime or a cluster is not run.
package deployment

import (
	"os"
	"testing"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

const root = "../../"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	ok(t, err)
	return string(text)
}
