// Package sender puts the parts together: [Run] delivers activities from a Postgres database until its context ends. It
// is what the command runs and what an application embeds.
//
// The way of an activity: the head reads each once, decides whom it is for, and offers it to the workers of the instances
// that this process holds; the dispatcher starts what the workers say may start; the outcome goes back to the worker; a
// save each second writes the cursors on the lease session. A worker that is full or came late is behind: the catch-up
// reads for it, from chunks that all who are behind share, until it has reached the head.
//
// Lock order: dispatcher.mu before the locks of the target index. Nothing waits for the network or the database under
// dispatcher.mu.
package sender
