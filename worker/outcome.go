package worker

import "time"

// Class is what an answer, or its absence, means for the delivery. The values are those of deliver.Class.
type Class uint8

const (
	// Delivered settles the inbox.
	Delivered Class = iota + 1
	// Refused settles the inbox: the instance is up and does not want it.
	Refused
	// Retry is a failure of the instance or of the way to it.
	Retry
	// Unauthorized is retried as often as [Rules] say, then refused: the instance is up, but may not have been able to fetch the key.
	Unauthorized
	// Throttled is no failure: the instance asks for a pause.
	Throttled
	// Gone from a shared inbox counts against the instance; from any other it is [Refused].
	Gone
	// Unusable settles the inbox with a [Letter]: nothing may be sent there.
	Unusable
	// Canceled was no attempt.
	Canceled
)

// Outcome is how one delivery ended.
type Outcome struct {
	Class Class
	// Status is the HTTP status, or 0 when there was no answer.
	Status int
	// RetryAfter is the pause that a Throttled answer asks for; 0: it does not say.
	RetryAfter time.Duration
	// Reason is one line for the operator.
	Reason string
}
