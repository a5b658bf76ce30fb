// Package charts renders the chart by Helm itself and reads what comes out with Kubernetes' own types, strictly; it has Compose's
// parser read the Compose files, BuildKit's the Dockerfile and Grafana's types the dashboard. It is a module of its own, because
// these libraries are far larger than the program. `go test . -update` writes rendered/, which the tests of the program's module
// look at.
package charts

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write rendered/")

const root = "../../../"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	ok(t, err)
	return text
}
