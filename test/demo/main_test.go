package demo_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/fleet"
)

// program is the built sender.
var program string

func TestMain(m *testing.M) { goleak.VerifyTestMain(withProgram{m}) }

type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "fedsender-demo-program-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = fleet.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return w.m.Run()
}
