package fediverse

import (
	"fmt"
	"strings"
)

// maxExamples is how many of each kind a verdict names.
const maxExamples = 10

// Expected says which activities each inbox should have, by the inbox without its scheme ("toad.example/inbox"). Sets
// may be shared between inboxes.
type Expected map[string]map[string]struct{}

// Add expects activities at an inbox, given with or without its scheme.
func (e Expected) Add(inbox string, activities ...string) {
	inbox = InboxKey(inbox)
	if e[inbox] == nil {
		e[inbox] = map[string]struct{}{}
	}
	for _, activity := range activities {
		e[inbox][activity] = struct{}{}
	}
}

// InboxKey is an inbox's URL as [Expected] has it.
func InboxKey(inbox string) string {
	_, key, ok := strings.Cut(inbox, "://")
	if !ok {
		key = inbox
	}
	domain, path, _ := strings.Cut(key, "/")
	return strings.ToLower(domain) + "/" + path
}

// Order names the group of activities that an activity conflicts with, and its rank in it: an instance must accept
// those of one group in ascending order, each after the one before was answered. An empty group means no conflict.
type Order func(activity string) (group string, rank int64)

// Verdict compares the ledger with what should be in it.
type Verdict struct {
	Delivered  int // expected pairs of inbox and activity that were accepted
	Lost       int // expected pairs that were not
	Unexpected int // accepted pairs that were not expected
	Twice      int // accepted deliveries of a pair that was accepted before
	OutOfOrder int // first deliveries of a pair that came too early or too late for Order
	Violations int // requests that some known server would refuse

	Examples []string // a few of each of the bad kinds, in words
}

// String is the last line of a report.
func (v Verdict) String() string {
	text := fmt.Sprintf("delivered %d, lost %d, twice %d, out of order %d", v.Delivered, v.Lost, v.Twice, v.OutOfOrder)
	if v.Unexpected > 0 {
		text += fmt.Sprintf(", unexpected %d", v.Unexpected)
	}
	if v.Violations > 0 {
		text += fmt.Sprintf(", refused by strict servers %d", v.Violations)
	}
	return text
}

// Verdict judges by what was accepted so far. With a nil order nothing is out of order. Deliveries wait meanwhile:
// about a second for three million.
func (l *Ledger) Verdict(expected Expected, order Order) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	judge := &judge{
		Ledger: l, expected: make([]map[string]struct{}, len(l.inboxes)),
		order: order, places: make([]place, len(l.activities.all)), groups: map[groupKey]*group{},
	}
	judge.verdict.Violations = l.violated
	for i, inbox := range l.inboxes {
		judge.expected[i] = expected[inbox.book.domain+inbox.path]
	}
	for seq := range l.count {
		if e := l.at(seq); e.accepted() {
			judge.look(e)
		}
	}
	judge.findLost(expected)
	for i, violation := range l.violations[:min(maxExamples, len(l.violations))] {
		judge.example(i+1, "violation: %s", violation)
	}
	return judge.verdict
}

type judge struct {
	*Ledger
	verdict  Verdict
	seen     pairs
	expected []map[string]struct{} // by inbox
	order    Order
	places   []place // by activity
	groups   map[groupKey]*group
}

// place is what Order said of an activity.
type place struct {
	known bool
	group string
	rank  int64
}

type groupKey struct {
	book *book
	name string
}

// group is what one instance has accepted of one group, in order of arrival.
type group struct {
	rank       int64 // the highest
	ends       int64 // when the last one of that rank was answered
	endsBefore int64 // when the last one of a lower rank was answered
}

func (j *judge) look(e *entry) {
	inbox, activity := j.inboxes[e.inbox], j.activities.all[e.activity]
	if !j.seen.add(e) {
		j.verdict.Twice++
		j.example(j.verdict.Twice, "twice: %s at %s%s", activity, inbox.book.domain, inbox.path)
		return
	}
	if _, ok := j.expected[e.inbox][activity]; ok {
		j.verdict.Delivered++
	} else {
		j.verdict.Unexpected++
		j.example(j.verdict.Unexpected, "unexpected: %s at %s%s", activity, inbox.book.domain, inbox.path)
	}
	at := j.placeOf(e.activity)
	if at.group != "" && !j.inOrder(groupKey{inbox.book, at.group}, at.rank, e) {
		j.verdict.OutOfOrder++
		j.example(j.verdict.OutOfOrder, "out of order: %s (%s %d) at %s%s", activity, at.group, at.rank, inbox.book.domain, inbox.path)
	}
}

// placeOf asks Order once for each activity.
func (j *judge) placeOf(activity uint32) place {
	at := &j.places[activity]
	if j.order != nil && !at.known {
		at.known = true
		at.group, at.rank = j.order(j.activities.all[activity])
	}
	return *at
}

// inOrder takes the deliveries of a group in order of arrival.
func (j *judge) inOrder(key groupKey, rank int64, e *entry) bool {
	end := j.endOf(e)
	g, ok := j.groups[key]
	switch {
	case !ok:
		j.groups[key] = &group{rank: rank, ends: end}
		return true
	case rank < g.rank:
		return false
	case rank == g.rank: // the same activity at another inbox
		g.ends = max(g.ends, end)
	default:
		g.endsBefore = max(g.endsBefore, g.ends)
		g.rank, g.ends = rank, end
	}
	return g.endsBefore <= e.arrived
}

func (j *judge) findLost(expected Expected) {
	for key, activities := range expected {
		domain, path, _ := strings.Cut(key, "/")
		var number uint32
		var known bool
		if book := j.byDomain[domain]; book != nil {
			number, known = book.inboxes["/"+path]
		}
		for activity := range activities {
			if index, ok := j.activities.index[activity]; known && ok && j.seen.has(number, index) {
				continue
			}
			j.verdict.Lost++
			j.example(j.verdict.Lost, "lost: %s for %s", activity, key)
		}
	}
}

// example keeps the first few of a kind.
func (j *judge) example(count int, format string, args ...any) {
	if count <= maxExamples {
		j.verdict.Examples = append(j.verdict.Examples, fmt.Sprintf(format, args...))
	}
}
