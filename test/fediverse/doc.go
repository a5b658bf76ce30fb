// Package fediverse simulates remote servers: any number of instances behind one address, which speaks HTTP and HTTPS
// and tells them apart by Host and SNI. Connect to [Fediverse.Addr] with names unchanged, and trust
// [Fediverse.CAFile].
//
// It promises that a POST it answers with 2xx is one that every known server would have taken (the strictest demands
// of all of them together: see [Fediverse.Register]), and that whatever arrives is in the [Ledger], by which a test
// proves what was delivered, lost, repeated or out of order. What was accepted is in the ledger before the sender can
// read the answer.
//
// How an instance behaves is a [Behaviour], which picks an [Answer] for each request.
package fediverse
