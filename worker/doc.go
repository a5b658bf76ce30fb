// Package worker is the delivery of activities to one instance: in which order, how many at a time, when to try again
// and when to give up.
//
// It promises that of two activities that conflict (see [Footprint]) the later is never started before the earlier is
// settled at every inbox, and that the cursor never passes an activity that is not settled.
//
// A [Worker] is a state machine and nothing else: no SQL, no HTTP, no clock, no goroutine. Its owner gives it
// activities ([Worker.Offer], [Worker.Pass]), makes the deliveries that [Worker.Next] returns, tells how each ended
// ([Worker.Done]) and saves [Worker.State]. What it does depends on these calls alone; jitter comes from a seed.
//
// # When something fails
//
// The instance as a whole backs off by its fail count n, which grows once a round (a delivery that was already under
// way when the last failure was counted does not count again) and falls by one with every answer that shows that the
// instance is up: 2xx, a refusal, 401. The pause after a failure is min(1.25^(n-1) s, 1 day), lengthened by up to a
// tenth so that instances which failed together do not come back together.
//
// A delivery that fails also waits for itself (2 s, then 16 s, doubling) as soon as the instance answered another one meanwhile, so
// that one bad activity does not hold up its neighbours. Its 8th failure makes it a [Letter], if 15 minutes have passed
// since the first; a failure counts only if another activity was delivered since the one before. So an instance
// that is down loses nothing, and an activity that the instance can't take does not stop the queue. If nothing but
// that activity could be tried, because all others conflict with it, it looks like an instance that is down.
//
// An instance is dead when its shared inbox said three times in 24 h that it is gone, or when there was no sign of life
// for 3 days and so many tries in a row failed as [Rules] say. A sign of life is a 2xx, a refusal, a 401, or what [Worker.Seen] tells.
// A dead one is probed once a day.
package worker
