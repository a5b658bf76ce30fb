// Package why says in sentences why an instance is in the state that it is in: the same ones on the page and in the terminal.
package why

import (
	"fmt"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// Instance is what the sentences are made of. What is zero is not known and nothing is said of it.
type Instance struct {
	pg.InstanceStatus
	Detail    pg.InstanceDetail
	GoneCount int           // answers that the shared inbox is gone, within a day
	Silent    time.Duration // how long the holder, which hangs, has said nothing; 0: it does not hang
	Stranger  bool          // the holder is no sender
}

// Sentences are why the instance is where it is, the state first. They hold text from elsewhere (the holder's name), which whoever
// shows it makes safe. Durations look as the function writes them.
func (i *Instance) Sentences(now time.Time, duration func(time.Duration) string) []string {
	why := []string{i.state(now, duration)}
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	left := max(i.Throttled(now), i.Detail.NotBefore.Sub(now))
	if left <= 0 && i.State == "ok" && i.LastError != "" && i.Detail.LastErrorAt.After(i.LastSuccessAt) {
		say("Its last answer was no success, but holds nothing up: what it was for is tried a few times, then given up.")
	}
	if left > 0 {
		say("It has asked for a pause (429, or 503 with Retry-After): nothing is sent to it for %s more, and what waits for it is kept.", duration(left))
	}
	if i.GoneCount > 0 && !i.Detail.Gone {
		say("Its shared inbox answered %s within a day that it is gone; three make it dead.", times(i.GoneCount))
	}
	if i.Redeliveries == 1 {
		say("1 activity is sent again (a dead letter that was retried).")
	} else if i.Redeliveries > 1 {
		say("%d activities are sent again (dead letters that were retried).", i.Redeliveries)
	}
	if i.State == "lagging" && i.Detail.MaxInFlight > 0 {
		say("An operator lets it get at most %d at one time.", i.Detail.MaxInFlight)
	}
	switch {
	case i.State == "blocked" || i.State == "paused":
	case i.Holder == "":
		say("No process delivers to it at this moment.")
	case i.Silent > 0:
		say("Process %s, which holds it, has been silent for %s: nothing is sent before that ends.", i.Holder, duration(i.Silent))
	case i.Stranger:
		say("Its lease is held by something that is no sender (%s), so that no process can deliver to it.", i.Holder)
	}
	return why
}

// state is the sentence, or two, of the state itself.
func (i *Instance) state(now time.Time, duration func(time.Duration) string) string {
	switch i.State {
	case "blocked":
		return i.blocked() + " Nothing is sent to it and its cursor stands still, so that it gets all of it when that ends."
	case "paused":
		until := "until somebody resumes it"
		if left := i.Detail.PausedUntil.Sub(now); left > 0 {
			until = "for " + duration(left) + " more"
		}
		return "It is paused " + until + ". Nothing is sent to it and its cursor stands still: nothing is lost."
	case "dead":
		because := "It has given no sign of life for 3 days, while all tries failed."
		if i.Detail.Gone {
			because = "Its shared inbox has answered that it is gone, three times within a day."
		}
		return because + " It is tried once a day, and any sign of life brings it back; what it misses meanwhile stays in the queue."
	case "failing":
		next := "It is due to be tried again;"
		if left := i.NextRetryAt.Sub(now); left > 0 {
			next = "It is tried again in " + duration(left) + ";"
		}
		return fmt.Sprintf("%s in a row failed. %s each further failure makes the wait a quarter longer, up to a day.", tries(i.FailCount), next)
	case "lagging":
		because := ": more is published for it than it takes, or its deliveries are slow."
		if i.Throttled(now) > 0 {
			because = "."
		}
		return fmt.Sprintf("It does not fail, but what waits for it is up to %s old%s", duration(time.Duration(i.LagSeconds*float64(time.Second))), because)
	}
	if i.Throttled(now) > 0 {
		return "It does not fail."
	}
	if i.IDsBehind > 0 && i.Holder != "" && i.Silent == 0 && !i.Stranger {
		return "It takes what is sent to it. The ids that it is behind are on their way, or for others."
	}
	return "It takes what is sent to it."
}

func (i *Instance) blocked() string {
	switch i.Detail.Listed {
	case "block":
		return "It is on the list of blocked domains."
	case "allow":
		return "There is a list of allowed domains, and it is not on it."
	}
	return "It is blocked, or not among the domains that are allowed."
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
