package fleet_test

import (
	"os"
	"testing"

	"github.com/fedsender/fedsender/test/fleet"
)

type testsOf func() int

func (run testsOf) Run() int { return run() }

func TestBinary_IsBuiltOnceForEachTagAndGoneAfterwards(t *testing.T) {
	if _, err := fleet.Binary(t.Context(), ""); err == nil {
		t.Fatal("built although nobody removes it")
	}
	var plain, tagged string
	code := fleet.Main(testsOf(func() int {
		var err error
		plain, err = fleet.Binary(t.Context(), "")
		ok(t, err)
		built, err := os.Stat(plain)
		ok(t, err)
		again, err := fleet.Binary(t.Context(), "")
		ok(t, err)
		if after, err := os.Stat(again); err != nil || !os.SameFile(built, after) || !after.ModTime().Equal(built.ModTime()) {
			t.Errorf("built again: %v", err)
		}
		tagged, err = fleet.Binary(t.Context(), "testclock")
		ok(t, err)
		return 7
	}))
	if code != 7 || plain == tagged {
		t.Errorf("exit code %d, %s and %s", code, plain, tagged)
	}
	for _, path := range []string{plain, tagged} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
