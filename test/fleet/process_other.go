//go:build !linux

package fleet

import (
	"errors"
	"syscall"
	"time"
)

func dieWithParent(*syscall.SysProcAttr) {}

func processCPU(int) (time.Duration, error) {
	return 0, errors.New("the processor time of a running process is read on Linux only")
}
