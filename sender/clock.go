//go:build !testclock

package sender

import "time"

// clock is time.Now, and the one that decides when something may be sent. The build tag testclock lets a test move its
// wall clock.
func clock() time.Time { return time.Now() }
