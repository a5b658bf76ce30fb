//go:build !unix

package sender

import "time"

// processorTime is what this process has used of processors since its start: not known here.
func processorTime() (used time.Duration, measured bool) { return 0, false }
