// Package docs tests the pages for people: it runs their commands in order, compares what they show, and looks up what they
// name and where they lead.
//
// A comment on the line above a block says what is done with it:
//
//	<!-- run -->              it is run as bash -euo pipefail runs it, or by psql; "run: NAME" has a test do something after it
//	<!-- fails: 2 -->         so is this one, and ends with that exit code
//	<!-- look -->             it is run again and again until it prints what the next block shows
//	<!-- terminal: NAME -->   it runs in a terminal of its own, and goes on
//	<!-- ctrl-c: NAME; … -->  that terminal is interrupted first
//	<!-- shows -->            the last command printed these lines, in this order; … is anything
//	<!-- shows: NAME -->      that terminal prints them
//	<!-- file: PATH -->       the block is that file
//	<!-- syntax: WHY -->      it can't be run here; bash -n reads it
package docs

import (
	"os"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

// patience is how long a test waits for what should take a second; only a broken one waits so long.
const patience = 30 * time.Second

const root = "../../"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
