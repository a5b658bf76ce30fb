package fleet_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

func TestProcessCPU_IsThatOfTheKernelsBooks(t *testing.T) {
	var before, after syscall.Rusage
	ok(t, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	used, err := fleet.ProcessCPU(os.Getpid())
	ok(t, err)
	ok(t, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	// The books are kept in microseconds.
	if least, most := rusage(before)-time.Millisecond, rusage(after)+time.Millisecond; used < least || used > most {
		t.Errorf("%s, and the books say %s to %s", used, least, most)
	}
}

func TestTreeCPU_CountsChildrenThatRunAndThatHaveEnded(t *testing.T) {
	// Each of the two loops takes some processor time; then the shell waits for its input.
	shell := exec.Command("sh", "-c", `loop() { i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; }; (loop) & wait; exec 3<&0; (loop; read line <&3) & loop; echo done; read line; wait; true`)
	in, err := shell.StdinPipe()
	ok(t, err)
	out, err := shell.StdoutPipe()
	ok(t, err)
	ok(t, shell.Start())
	_, err = out.Read(make([]byte, 1))
	ok(t, err)
	alone, err := fleet.ProcessCPU(shell.Process.Pid)
	ok(t, err)
	all, err := fleet.TreeCPU(shell.Process.Pid)
	ok(t, err)
	ok(t, in.Close())
	ok(t, shell.Wait())
	if all < alone+alone/2 {
		t.Errorf("%s with its children, %s alone", all, alone)
	}
	if _, err := fleet.ProcessCPU(shell.Process.Pid); err == nil {
		t.Error("a process that has ended has a clock")
	}
}

func rusage(u syscall.Rusage) time.Duration {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
