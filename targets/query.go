package targets

import (
	"slices"
	"strings"
)

// Query is whom an activity names.
type Query struct {
	// ActivityID decides which tombstones count.
	ActivityID int64
	// Inboxes are the URLs of send_inboxes.
	Inboxes []string
	// FollowersOf are the actors whose followers get it.
	FollowersOf []int64
	// AllInstances: the shared inbox of every instance that has one.
	AllInstances bool
}

// Unknown is an inbox on a domain that has no instance.
type Unknown struct{ Inbox, Domain string }

// Bad is an inbox that names no domain. Reason is a sentence for a person and doesn't repeat a password.
type Bad struct{ Inbox, Reason string }

// lookup is what a query needs beside its answer.
type lookup struct {
	targets []target
	domains []string // of the query's inboxes; empty: bad
}

// Targets calls each for every instance that the query reaches, once, with the inboxes there: each once, in the order of
// their URLs, a shared one marked so wherever it was named. Inboxes are the same if their URLs are, byte for byte. The
// instances come in no particular order; where want (nil: all are) says no, each isn't called. Both are called in the
// caller's goroutine without any lock and may use the index.
//
// The slices are shared and never change: each may keep them and must not write to them. They are as the index was when
// Targets was called. The time it takes grows with the number of targets.
//
// Of the query's own inboxes those on a domain without an instance come back as unknown, and those without a domain as
// bad, each URL once and sorted by it: they are no targets.
func (x *Index) Targets(q Query, want func(instanceID int32) bool, each func(instanceID int32, inboxes []Inbox)) (unknown []Unknown, bad []Bad) {
	l, _ := x.scratch.Get().(*lookup)
	if l == nil {
		l = &lookup{}
	}
	defer x.scratch.Put(l)
	bad = l.parse(q)

	x.mu.RLock()
	unknown, sorted := l.collect(x.state, q)
	pages := x.state.inboxes.pages
	x.mu.RUnlock()

	if !sorted {
		slices.Sort(l.targets)
		l.targets = slices.CompactFunc(l.targets, target.same)
	}
	for rest := l.targets; len(rest) > 0; {
		instanceID, n := rest[0].instance(), 1
		for n < len(rest) && rest[n].instance() == instanceID {
			n++
		}
		if want == nil || want(instanceID) {
			each(instanceID, gather(pages, q, rest[:n], sorted))
		}
		rest = rest[n:]
	}
	return unknown, bad
}

// parse finds the domains of the query's inboxes.
func (l *lookup) parse(q Query) (bad []Bad) {
	l.domains = l.domains[:0]
	for _, url := range q.Inboxes {
		domain, err := DomainOf(url)
		if err != nil {
			bad = append(bad, Bad{Inbox: url, Reason: err.Error()})
		}
		l.domains = append(l.domains, domain)
	}
	slices.SortFunc(bad, func(a, b Bad) int { return strings.Compare(a.Inbox, b.Inbox) })
	return slices.Compact(bad)
}

// collect gathers the targets from where they are listed. They are sorted and distinct if they are all from one list.
func (l *lookup) collect(s *state, q Query) (unknown []Unknown, sorted bool) {
	l.targets = l.targets[:0]
	lists := 0
	add := func(targets []target) {
		if len(targets) > len(l.targets) {
			lists++
		}
		l.targets = targets
	}
	if q.AllInstances {
		add(append(l.targets, s.broadcast...))
	}
	var room [1]target
	for _, actorID := range q.FollowersOf {
		add(append(l.targets, s.followers.get(actorID, &room)...))
	}
	listed := lists
	for _, actorID := range q.FollowersOf {
		add(s.tombstones[actorID].appendLate(s, q.ActivityID, l.targets))
	}
	for i, url := range q.Inboxes {
		if l.domains[i] == "" {
			continue
		}
		instanceID, known := s.domains[l.domains[i]]
		if !known {
			unknown = append(unknown, Unknown{Inbox: url, Domain: l.domains[i]})
			continue
		}
		t := newTarget(instanceID, uint32(i), false) | elsewhere
		if id := s.inboxes.find(instanceID, url); id != 0 {
			t = newTarget(instanceID, id, false)
		}
		add(append(l.targets, t))
	}
	slices.SortFunc(unknown, func(a, b Unknown) int { return strings.Compare(a.Inbox, b.Inbox) })
	return slices.Compact(unknown), lists <= 1 && listed == lists
}

// gather makes the inboxes of one instance out of its targets.
func gather(pages []*[pageSize]Inbox, q Query, targets []target, sorted bool) []Inbox {
	if len(targets) == 1 && targets[0].indexed() {
		return view(pages, targets[0].id())
	}
	inboxes := make([]Inbox, len(targets))
	for i, t := range targets {
		if t.indexed() {
			inboxes[i] = view(pages, t.id())[0]
		} else {
			inboxes[i].URL = q.Inboxes[t.id()]
		}
	}
	if sorted {
		return inboxes
	}
	slices.SortFunc(inboxes, func(a, b Inbox) int { return strings.Compare(a.URL, b.URL) })
	return slices.CompactFunc(inboxes, func(a, b Inbox) bool { return a.URL == b.URL })
}
