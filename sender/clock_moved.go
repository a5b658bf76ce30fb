//go:build testclock

package sender

import (
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// clockFile names the variable with the file that says how far the wall clock is off: a Go duration, such as -1h. No
// file: not at all.
const clockFile = "SENDER_TEST_CLOCK_FILE"

// clockEvery is how often the file is read at most.
const clockEvery = 50 * time.Millisecond

var moved struct {
	mu     sync.Mutex
	read   time.Time
	offset time.Duration
}

// clock is time.Now with another wall clock, as if that had been set: the monotonic reading is the true one.
func clock() time.Time {
	moved.mu.Lock()
	defer moved.mu.Unlock()
	now := time.Now()
	if moved.read.IsZero() || now.Sub(moved.read) >= clockEvery {
		moved.read = now
		moved.offset = readOffset()
	}
	return setWall(now, moved.offset)
}

func readOffset() time.Duration {
	text, err := os.ReadFile(os.Getenv(clockFile))
	if err != nil {
		return 0
	}
	offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return moved.offset // it is being written
	}
	return offset
}

// secondBit is where the seconds begin in the first word of a time.Time that has a monotonic reading; nanoseconds are
// below.
const secondBit = 30

// setWall moves the wall clock of now by whole seconds and leaves its monotonic reading alone, which package time has no
// call for.
func setWall(now time.Time, offset time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&now)) += uint64(int64(offset/time.Second)) << secondBit
	return now
}
