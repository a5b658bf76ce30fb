package targets

import (
	"slices"
	"sort"
)

// Question is a query whose inboxes have been parsed, to be asked for one set of instances after another. It is immutable
// and safe for several goroutines.
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
func (x *Index) For(question *Question, instanceID int32) (inboxes []Inbox) {
	x.Among(question, []int32{instanceID}, func(_ int, found []Inbox) { inboxes = found })
	return inboxes
}

// Among calls each for those of the instances that the query reaches, in the order of ids, with the index in ids and the
// inboxes there: what [Index.Targets] would give for them. The ids are ascending and each there once. The time it takes grows
// with the number of ids or of the query's targets, whichever is less. The slices are shared and must not be written to.
// It is called in the caller's goroutine without any lock and may use the index.
func (x *Index) Among(question *Question, ids []int32, each func(i int, inboxes []Inbox)) {
	q := question.query
	l, _ := x.scratch.Get().(*lookup)
	if l == nil {
		l = &lookup{}
	}
	defer x.scratch.Put(l)

	x.mu.RLock()
	sorted := l.meet(x.state, question, ids)
	pages := x.state.inboxes.pages
	x.mu.RUnlock()

	if !sorted {
		slices.Sort(l.targets)
		l.targets = slices.CompactFunc(l.targets, target.same)
	}
	i := 0
	for rest := l.targets; len(rest) > 0; {
		instanceID, n := rest[0].instance(), 1
		for n < len(rest) && rest[n].instance() == instanceID {
			n++
		}
		i += ahead(len(ids)-i, func(n int) bool { return ids[i+n] >= instanceID })
		each(i, gather(pages, q, rest[:n], sorted))
		rest = rest[n:]
	}
}

// meet gathers the targets on these instances from where they are listed. They are sorted and distinct if they are all from
// one list.
func (l *lookup) meet(s *state, question *Question, ids []int32) (sorted bool) {
	q := question.query
	l.targets = l.targets[:0]
	lists := 0
	take := func(of []target) {
		before := len(l.targets)
		if l.targets = appendMet(l.targets, of, ids); len(l.targets) > before {
			lists++
		}
	}
	if q.AllInstances {
		take(s.broadcast)
	}
	var room [1]target
	for _, actorID := range q.FollowersOf {
		take(s.followers.get(actorID, &room))
	}
	listed := len(l.targets)
	here := func(id int32) bool {
		_, found := slices.BinarySearch(ids, id)
		return found
	}
	for _, actorID := range q.FollowersOf {
		if of := s.tombstones[actorID]; of != nil {
			for _, t := range of.appendLate(s, q.ActivityID, nil) {
				if here(t.instance()) {
					l.targets = append(l.targets, t)
				}
			}
		}
	}
	for i, url := range q.Inboxes {
		id, known := s.domains[question.domains[i]]
		if !known || question.domains[i] == "" || !here(id) {
			continue
		}
		t := newTarget(id, uint32(i), false) | elsewhere
		if indexed := s.inboxes.find(id, url); indexed != 0 {
			t = newTarget(id, indexed, false)
		}
		l.targets = append(l.targets, t)
	}
	return lists <= 1 && listed == len(l.targets)
}

// appendMet appends the targets whose instance is among the ids. Both are ascending; where one is much shorter it leaps
// over most of the other.
func appendMet(found, of []target, ids []int32) []target {
	for len(of) > 0 && len(ids) > 0 {
		switch instanceID := of[0].instance(); {
		case instanceID < ids[0]:
			of = of[ahead(len(of), func(n int) bool { return of[n].instance() >= ids[0] }):]
		case instanceID > ids[0]:
			ids = ids[ahead(len(ids), func(n int) bool { return ids[n] >= instanceID }):]
		default:
			found, of = append(found, of[0]), of[1:]
		}
	}
	return found
}

// ahead is sort.Search for what is likely near the beginning.
func ahead(n int, reached func(int) bool) int {
	low, step := 0, 1
	for low+step <= n && !reached(low+step-1) {
		low, step = low+step, 2*step
	}
	return low + sort.Search(min(step, n-low), func(i int) bool { return reached(low + i) })
}
