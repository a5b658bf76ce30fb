package bubble_test

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bubble"
)

// Timers that are due when they are made are what Go ran on two threads at once: with synctest.Test and the race detector
// this ends in the first rounds with "ThreadSanitizer: CHECK failed".
func TestTimersOfManyGoroutinesAtOneTime(t *testing.T) {
	for range 20 {
		bubble.Test(t, func(t *testing.T) {
			const workers = 50
			done := make(chan struct{})
			for range workers {
				go func() {
					for range 20 {
						time.Sleep(time.Millisecond)
						<-time.NewTimer(0).C
						time.AfterFunc(time.Millisecond, func() {})
					}
					done <- struct{}{}
				}()
			}
			for range workers {
				<-done
			}
		})
	}
}
