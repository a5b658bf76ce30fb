// Package bubble runs tests in bubbles of [testing/synctest], with the race detector too.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// One bubble lasts at a time; what runs outside of it meanwhile has one processor as well.
var alone sync.Mutex

// Test is [synctest.Test]. With the race detector, Go runs the timers of a bubble on several threads that share one
// state of the detector, and the program dies now and then (golang/go#78156). On one processor they take turns, and a
// race is still found, because the detector looks at what happens before what and not at what happens at one time.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceDetector {
		alone.Lock()
		defer alone.Unlock()
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
