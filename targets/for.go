package targets

import "slices"

// Question is a query whose inboxes have been parsed, to be asked for one instance after another. It is immutable and
// safe for several goroutines.
type Question struct {
	query   Query
	domains []string // of the query's inboxes; empty: bad
}

// NewQuestion parses a query once.
func NewQuestion(q Query) *Question {
	l := lookup{}
	l.parse(q)
	return &Question{query: q, domains: l.domains}
}

// For returns the inboxes of one instance that the query reaches: what [Index.Targets] would give for it. The time it
// takes does not depend on the number of instances. The slice is shared and must not be written to.
func (x *Index) For(question *Question, instanceID int32) []Inbox {
	q := question.query
	x.mu.RLock()
	s := x.state
	pages := s.inboxes.pages
	var few [8]target
	found := few[:0]
	take := func(of []target) {
		from, to := span(of, instanceID)
		found = append(found, of[from:to]...)
	}
	if q.AllInstances {
		take(s.broadcast)
	}
	var room [1]target
	for _, actorID := range q.FollowersOf {
		take(s.followers.get(actorID, &room))
		if of := s.tombstones[actorID]; of != nil {
			found = append(found, slices.DeleteFunc(of.appendLate(s, q.ActivityID, nil), func(t target) bool {
				return t.instance() != instanceID
			})...)
		}
	}
	for i, url := range q.Inboxes {
		if id, known := s.domains[question.domains[i]]; !known || id != instanceID || question.domains[i] == "" {
			continue
		}
		t := newTarget(instanceID, uint32(i), false) | elsewhere
		if id := s.inboxes.find(instanceID, url); id != 0 {
			t = newTarget(instanceID, id, false)
		}
		found = append(found, t)
	}
	x.mu.RUnlock()
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	found = slices.CompactFunc(found, target.same)
	return gather(pages, q, found, false)
}
