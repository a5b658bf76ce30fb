//go:build unix

package sender

import (
	"syscall"
	"time"
)

// processorTime is what this process has used of processors since its start.
func processorTime() (used time.Duration, measured bool) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, false
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), true
}
