package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
)

// judge compares the receivers' ledger with what was committed and prints the verdict. The error is ErrBad when
// something was lost, out of order, sent without reason or refused.
func (d *demo) judge() error {
	d.screen.clear()
	ledger, written := d.cluster.Fedi.Ledger(), d.stream.written()
	expected, order := d.cast.expect(written)
	v := ledger.Verdict(expected, order)
	posts := map[string]bool{}
	for _, a := range written {
		posts[a.post] = true
	}
	s := d.screen
	s.print("", "  "+s.paint(bold, "The servers' ledger says"), "")
	d.row("delivered", v.Delivered, false, "each committed activity at each server that follows")
	d.row("lost", v.Lost, true, "of them, whether committed late or not")
	d.row("unexpected", v.Unexpected, true, fmt.Sprintf("rolled back (%d were), or at another server", d.stream.count().rolledBack))
	d.row("twice", v.Twice, false, d.whyTwice(ledger))
	d.row("out of order", v.OutOfOrder, true, fmt.Sprintf("Create, Update, Like, Delete of each of %d posts", len(posts)))
	d.row("violations", v.Violations, true, "signature, digest, date, host: as strict as any")
	text := fmt.Sprintf("delivered %s, lost %s, twice %s, out of order %s, violations %s",
		thousands(v.Delivered), thousands(v.Lost), thousands(v.Twice), thousands(v.OutOfOrder), thousands(v.Violations))
	if v.Unexpected > 0 {
		text += ", unexpected " + thousands(v.Unexpected)
	}
	text += ", in " + seconds(time.Since(s.start))
	if v.Lost+v.Unexpected+v.OutOfOrder+v.Violations == 0 {
		s.print("", "  "+s.paint(green, text), "")
		return nil
	}
	s.print("")
	for _, example := range v.Examples {
		if !strings.HasPrefix(example, "twice:") {
			s.print("    " + example)
		}
	}
	s.print("", "  "+s.paint(red, text), "")
	return ErrBad
}

func (d *demo) row(what string, number int, mustBeZero bool, why string) {
	text := fmt.Sprintf("%8s", thousands(number))
	if mustBeZero {
		style := green
		if number > 0 {
			style = red
		}
		text = d.screen.paint(style, text)
	}
	d.screen.print(strings.TrimRight(fmt.Sprintf("    %-13s%s   %s", what, text, why), " "))
}

// whyTwice tells the repetitions that the kill explains from others: the killed sender had made the first delivery, and
// another one did not know of it.
func (d *demo) whyTwice(ledger *fediverse.Ledger) string {
	type what struct{ domain, path, activity string }
	key := func(x fediverse.Delivery) what { return what{x.Domain, x.Path, x.Activity} }
	repeated, first := ledger.Duplicates(""), map[what]fediverse.Delivery{}
	for _, x := range repeated {
		first[key(x)] = fediverse.Delivery{}
	}
	for _, x := range ledger.FirstArrivals("") {
		if _, ok := first[key(x)]; ok {
			first[key(x)] = x
		}
	}
	others, span := 0, time.Duration(0)
	for _, x := range repeated {
		f := first[key(x)]
		if f.Process != d.kill.name || x.Process == d.kill.name {
			others++
			continue
		}
		span = max(span, d.kill.at.Sub(f.Arrived))
	}
	switch {
	case len(repeated) == 0:
		return ""
	case others > 0:
		return fmt.Sprintf("%d because of the kill, %d for other reasons", len(repeated)-others, others)
	}
	return fmt.Sprintf("from the last %s before the kill, in no cursor", seconds(span))
}
