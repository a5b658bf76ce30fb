//go:build !linux

package fleet

import (
	"errors"
	"syscall"
	"time"
)

func dieWithParent(*syscall.SysProcAttr) {}

var errNoClock = errors.New("the processor time of a running process is read on Linux only")

// ProcessCPU is the processor time that a running process has used.
func ProcessCPU(int) (time.Duration, error) { return 0, errNoClock }

// TreeCPU is the processor time of a process and its children.
func TreeCPU(int) (time.Duration, error) { return 0, errNoClock }
