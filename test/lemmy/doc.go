// Package lemmy makes what tests of the lemmy source need: the tables of both lines of Lemmy that matter to a sender.
//
// It knows Lemmy from its public description and shares no SQL with the adapter, so that one checks the other.
package lemmy
