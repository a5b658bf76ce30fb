// Package pg is everything that speaks SQL: connections, the schema, the feed of activities up to the horizon, what
// processes read of the source, the lease session and what is written back.
//
// It promises that [Feed] never passes an id under which an activity can still appear.
//
// Statements are written for the views and functions of schema fedsender and name no table of an application, so that
// another server is supported by other views.
package pg
