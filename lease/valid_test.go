package lease_test

import (
	"testing"
	"time"
)

// BenchmarkKeeper_Valid is what each write to a socket pays, with all processors at it.
func BenchmarkKeeper_Valid(b *testing.B) {
	v := newServer(1)
	s := v.start(b, "a")
	for !s.keeper.Valid() {
		<-time.After(time.Millisecond)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !s.keeper.Valid() {
				b.Error("not valid")
				return
			}
		}
	})
	b.StopTimer()
	v.finish(b)
}
