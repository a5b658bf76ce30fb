// Package targets knows whom an activity is for. Its [Index] holds the instances, the followers of every local actor
// and the allow and block lists in memory; the owner fills it from rows and keeps it up to date.
//
// It promises that [Index.Targets] is exactly the set union that the activity asks for: its own inboxes, the followers
// of its actors, and all instances; each inbox of an instance once, one inbox for all followers who share it. Blocking
// is a question of its own ([Index.Blocked]), because a blocked instance is still a target: its cursor stands still, and
// nothing is lost when the block ends.
//
// It is made for a million followers in thousands of instances: an inbox is stored once, a pair of actor and instance
// costs 8 bytes, and an answer shares its slices with the index instead of making them anew.
//
// It speaks no SQL and no HTTP, and it never looks at the clock.
package targets
