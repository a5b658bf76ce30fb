package sign

import "slices"

// waiting is a request that waits for its turn.
type waiting struct {
	Request
	answer chan answer // of capacity one, so that who answers need not wait
}

// answer is what a request gets: the turn to sign itself, or what another made of it.
type answer struct {
	turn      bool
	signature []byte
	err       error
}

// queue is who waits. Flows take turns: each is asked for one request and goes to the end. It is not safe for several
// goroutines.
type queue struct {
	order  []*flow // each with somebody waiting; the next first
	flows  map[any]*flow
	length int
}

type flow struct {
	name    any
	begun   int        // so many of waiting, the first ones
	waiting []*waiting // the next first
}

func (f *flow) push(w *waiting) {
	if !w.Begun {
		f.waiting = append(f.waiting, w)
		return
	}
	f.waiting = slices.Insert(f.waiting, f.begun, w)
	f.begun++
}

// remove takes the i-th out of the line.
func (f *flow) remove(i int) *waiting {
	w := f.waiting[i]
	if w.Begun {
		f.begun--
	}
	if i == 0 {
		f.waiting[0], f.waiting = nil, f.waiting[1:]
	} else {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
	return w
}

func newQueue() queue { return queue{flows: map[any]*flow{}} }

func (q *queue) push(w *waiting) {
	f := q.flows[w.Flow]
	if f == nil {
		f = &flow{name: w.Flow}
		q.flows[w.Flow] = f
		q.order = append(q.order, f)
	}
	f.push(w)
	q.length++
}

// pop returns who is next, or nil.
func (q *queue) pop() *waiting {
	if len(q.order) == 0 {
		return nil
	}
	f := q.order[0]
	w := f.remove(0)
	q.order[0], q.order = nil, q.order[1:]
	q.length--
	if len(f.waiting) == 0 {
		delete(q.flows, f.name)
	} else {
		q.order = append(q.order, f)
	}
	return w
}

// drop takes one out of the line, and says whether it was in it.
func (q *queue) drop(w *waiting) bool {
	f := q.flows[w.Flow]
	if f == nil {
		return false
	}
	i := slices.Index(f.waiting, w)
	if i < 0 {
		return false
	}
	f.remove(i)
	q.length--
	q.tidy()
	return true
}

// take takes out at most so many that wait to sign with the key: one of each flow, in turn, and again.
func (q *queue) take(key *Key, most int) (taken []*waiting) {
	for found := true; found && len(taken) < most; {
		found = false
		for _, f := range q.order {
			i := slices.IndexFunc(f.waiting, func(w *waiting) bool { return w.Key != nil && w.Key.print == key.print })
			if i < 0 || len(taken) == most {
				continue
			}
			taken = append(taken, f.remove(i))
			found = true
		}
	}
	q.length -= len(taken)
	q.tidy()
	return taken
}

// tidy forgets flows with nobody left.
func (q *queue) tidy() {
	q.order = slices.DeleteFunc(q.order, func(f *flow) bool {
		if len(f.waiting) > 0 {
			return false
		}
		delete(q.flows, f.name)
		return true
	})
}
