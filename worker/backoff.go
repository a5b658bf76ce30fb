package worker

import (
	"math"
	"time"
)

const (
	maxBackoff    = 24 * time.Hour
	backoffFactor = 1.25

	firstThrottle      = time.Minute
	firstThrottleFloor = time.Second
	maxThrottle        = time.Hour
	// longestPause is the longest that an instance may ask for. A NotBefore beyond it comes of a clock that was set back.
	longestPause = 24 * time.Hour

	// maxAttempts and minFailing: an activity that keeps failing while others are taken is given up with this many
	// failures over this time.
	maxAttempts = 8
	minFailing  = 15 * time.Minute
	// firstJobDelay is short, because most first failures are of the instance and not of the activity. nextJobDelay doubles
	// with each further one, so that the 8th falls 17 minutes after the first.
	firstJobDelay = 2 * time.Second
	nextJobDelay  = 16 * time.Second

	// maxUnauthorized is how often a 401 is tried again: over half an hour, which a receiver may need to fetch a key.
	maxUnauthorized   = 6
	firstUnauthorized = 5 * time.Second

	goneWindow = 24 * time.Hour
	goneLimit  = 3

	// silence without a sign of life makes an instance dead.
	silence = 3 * 24 * time.Hour
	// silentFails: tries must have failed for about 5 minutes too (the sum of that many back-offs), longer than a restart
	// takes. Otherwise one failure after three quiet days would cost a small instance a whole day. The view
	// instance_status counts the same, by fedsender.source.dead_after_failures.
	silentFails = 20
	probeEvery  = 24 * time.Hour
)

// backoff is the pause of an instance after its nth failure: min(1.25^(n-1) s, 1 day), lengthened by up to a tenth but
// never beyond a day.
func backoff(n int, seed uint64) time.Duration {
	if n <= 0 {
		return 0
	}
	seconds := math.Pow(backoffFactor, float64(n-1))
	if seconds >= maxBackoff.Seconds() {
		return maxBackoff
	}
	return min(stretch(time.Duration(seconds*float64(time.Second)), seed+uint64(n)), maxBackoff)
}

// jobDelay is the pause of one inbox after its nth failure that counted.
func jobDelay(n int, seed uint64) time.Duration {
	if n < 2 {
		return stretch(firstJobDelay, seed+uint64(n))
	}
	return stretch(nextJobDelay<<(min(n, maxAttempts)-2), seed+uint64(n))
}

// unauthorizedDelay is the pause after the nth 401.
func unauthorizedDelay(n int) time.Duration {
	d := firstUnauthorized
	for range n - 1 {
		d *= 3
	}
	return d
}

// throttleDelay is the pause after an answer that asks for one and does not say how long; n is how many preceded it.
func throttleDelay(n int) time.Duration {
	return min(firstThrottle<<min(n, 10), maxThrottle)
}

// throttleFloor is the least pause after an answer that says how long; n is how many asked for one before, without a success
// since. It doubles, or "Retry-After: 0" with each answer would be a request a second for ever.
func throttleFloor(n int) time.Duration {
	return min(firstThrottleFloor<<min(n, 20), maxThrottle)
}

// stretch lengthens d by up to a tenth.
func stretch(d time.Duration, seed uint64) time.Duration {
	return d + time.Duration(float64(d)/10*fraction(seed))
}

// fraction spreads seeds evenly over [0, 1): the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func fraction(seed uint64) float64 {
	x := seed * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}
