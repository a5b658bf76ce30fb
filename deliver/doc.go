// Package deliver makes one signed POST of one activity to one inbox and says what the answer means.
//
// It promises that a POST goes only where the [Policy] lets it go, that it ends within the request time-out whatever
// the remote server does, and that every end is exactly one [Class]: the caller never has to read an error.
//
// Requests go over connections that are kept here, HTTP/1.1 with one request at a time: some servers lose the Host of
// HTTP/2 on its way to their application and then find the signature wrong (activitypub-federation-rust#167), and a
// server that stalls one delivery does not stall the others. What goes through a proxy is left to net/http.
//
// It keeps no queue and no memory of servers: when to try again, how often and in which order is the caller's.
// It speaks no SQL.
package deliver
