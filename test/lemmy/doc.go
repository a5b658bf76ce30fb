// Package lemmy makes what tests of the lemmy source need: the tables of both lines of Lemmy that matter to a sender
// ([Create]), rows in them by hand ([World]) or as many as a large server has ([World.Fill]), what of them must arrive
// where ([Rows.Expected]), what a Lemmy server looks at when it arrives ([Receiver]), and Lemmy's own sender, played by a
// loop that follows its rules ([Own]).
//
// It knows Lemmy from its public description and shares no SQL with the adapter, so that one checks the other.
package lemmy
