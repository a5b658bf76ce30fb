package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// headroom is how many bytes may be allocated between two garbage collections while less than that is in use.
	headroom = 32 << 20
	// leastInUse is what Go takes as in use where it is less.
	leastInUse = 4 << 20
	// usualPercent is Go's GOGC where nobody sets it.
	usualPercent = 100
)

// giveHeadroom has Go collect garbage after headroom bytes, or after as many as are in use where those are more, unless the user
// sets GOGC. Go's own rule knows the second only: of the few MiB that a sender has in use, that is many collections a second.
// Go keeps below GOMEMLIMIT all the same.
func giveHeadroom(environment map[string]string) {
	if environment["GOGC"] == "" {
		new(collections).next()
	}
}

// collections follows Go's garbage collections. It has no goroutine: Go calls it.
type collections struct{ percent int }

// next sets the percentage for what is in use now, and has itself called after the next collection, which finds the mark
// unused.
func (c *collections) next() {
	if percent := percentFor(inUse()); percent != c.percent { // setting it stops all goroutines for a moment
		debug.SetGCPercent(percent)
		c.percent = percent
	}
	runtime.AddCleanup(&mark{}, (*collections).next, c)
}

// mark is what a collection finds unused. It is large enough not to share its place with other values.
type mark struct{ _ [32]byte }

// percentFor is the GOGC for so many bytes in use, in steps of 10 above Go's own, so that it seldom changes.
func percentFor(bytes uint64) int {
	percent := int(headroom * 100 / max(bytes, leastInUse))
	return max(usualPercent, percent/10*10)
}

// inUse is of what Go takes the percentage: what the last collection has found in use, stacks and global variables.
func inUse() (bytes uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	for _, sample := range samples {
		if sample.Value.Kind() == metrics.KindUint64 {
			bytes += sample.Value.Uint64()
		}
	}
	return bytes
}
