// Package fleet runs real sender processes against a real database and the simulated fediverse, for the tests and for the
// demo: it builds the binary, fills the database, starts processes, and stops, kills and freezes them.
//
// It promises that a process which it started ends with it.
package fleet
