package worker

import "time"

// Inbox is where an activity goes. It is an alias, so that who chooses inboxes need not import this package.
type Inbox = struct {
	URL string
	// Shared: it serves the whole instance, so that what it says of itself (410) is said of the instance.
	Shared bool
}

// Activity is what the order of deliveries depends on. Workers share it and never change it.
type Activity struct {
	ID          int64
	PublishedAt time.Time
	Footprint   Footprint
}

// Job is one activity for one instance.
type Job struct {
	Activity *Activity
	// Inboxes is a set. A job without any is settled at once. The Worker keeps the slice and never changes it.
	Inboxes []Inbox
	// Redelivery: a dead letter that is tried again, outside the order of the cursor.
	Redelivery bool
}

// Delivery is one POST that the owner makes and then gives back to [Worker.Done], once.
type Delivery struct {
	Activity   *Activity
	Inbox      Inbox
	Redelivery bool
	// Attempt is 1 for the first try and grows with each one that counted as failed.
	Attempt int

	entry *entry
	index int
	seq   uint64
}

// Letter is a delivery that was given up.
type Letter struct {
	ActivityID int64
	Inbox      string
	// Reason is the outcome's: one line for the operator.
	Reason     string
	HTTPStatus int
	// Attempts are the tries that counted; 0 where none was possible.
	Attempts        int
	FirstAt, LastAt time.Time
}
