package worker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fedsender/fedsender/worker"
)

// place is one inbox of one activity.
type place struct {
	id    int64
	inbox string
}

// model is what must be true of one instance, told without any of the Worker's own means.
type model struct {
	*worker.Worker
	t        *rapid.T
	limits   worker.Limits
	now      time.Time
	jobs     []worker.Job // by id; jobs[k].Activity.ID is in ids that the feed has
	head     int64        // of the feed
	settled  map[place]bool
	tries401 map[place]int
	flying   map[place]worker.Delivery
	most     int // the window may not pass this

	saved         []byte
	savedSettled  map[place]bool
	savedTries401 map[place]int
	savedCursor   int64
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, now: start,
		limits: worker.Limits{
			MaxWindow:    rapid.IntRange(1, 6).Draw(t, "window"),
			MaxPending:   rapid.IntRange(1, 6).Draw(t, "pending"),
			MaxUnsettled: rapid.IntRange(1, 24).Draw(t, "unsettled"),
		},
		settled: map[place]bool{}, tries401: map[place]int{}, flying: map[place]worker.Delivery{},
	}
	m.most = m.limits.MaxWindow
	m.Worker = worker.New(worker.State{}, m.limits, start, 1)
	m.save()
	return m
}

func (m *model) save() {
	state := m.State()
	for _, l := range m.TakeLetters() {
		m.settled[place{l.ActivityID, l.Inbox}] = true
	}
	var err error
	if m.saved, err = json.Marshal(state); err != nil {
		m.t.Fatal(err)
	}
	m.savedSettled, m.savedTries401, m.savedCursor = maps.Clone(m.settled), maps.Clone(m.tries401), state.Cursor
}

// publish adds an activity to the feed, which is meant for the instance or not.
func (m *model) publish(*rapid.T) {
	m.head += int64(rapid.IntRange(1, 3).Draw(m.t, "gap"))
	inboxes := rapid.IntRange(0, 3).Draw(m.t, "inboxes")
	if inboxes == 0 {
		return
	}
	keys := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 4), 0, 3, rapid.ID).Draw(m.t, "keys")
	slices.Sort(keys)
	cut := rapid.IntRange(0, len(keys)).Draw(m.t, "writes")
	a := &worker.Activity{ID: m.head, PublishedAt: m.now, Footprint: worker.Footprint{Writes: keys[:cut], Reads: keys[cut:]}}
	j := worker.Job{Activity: a}
	for k := range inboxes {
		j.Inboxes = append(j.Inboxes, worker.Inbox{URL: fmt.Sprintf("https://toad.example/%d", k), Shared: inboxes == 1})
	}
	m.jobs = append(m.jobs, j)
}

// feed offers what there is room for.
func (m *model) feed(*rapid.T) {
	room := m.Room(m.now)
	for _, j := range m.jobs {
		if j.Activity.ID <= m.Offered() {
			continue
		}
		if room == 0 {
			return
		}
		if rapid.Bool().Draw(m.t, "pass before") {
			m.Pass(j.Activity.ID-1, m.now)
		}
		m.Offer(j)
		room--
	}
	if len(m.HeldIDs()) == 0 {
		m.Pass(m.head, m.now)
	}
}

func (m *model) next(*rapid.T) {
	d, ok := m.Next(m.now)
	if !ok {
		m.checkNextAt()
		return
	}
	m.checkStart(d)
	m.flying[place{d.Activity.ID, d.Inbox.URL}] = d
}

func (m *model) checkStart(d worker.Delivery) {
	p := place{d.Activity.ID, d.Inbox.URL}
	if m.settled[p] {
		m.t.Fatalf("%v starts and is settled", p)
	}
	if _, twice := m.flying[p]; twice {
		m.t.Fatalf("%v starts twice", p)
	}
	if len(m.flying) >= m.most {
		m.t.Fatalf("%v starts while %d are in flight", p, len(m.flying))
	}
	for _, j := range m.jobs {
		if j.Activity.ID < p.id && !m.isSettled(j) && j.Activity.Footprint.Conflicts(d.Activity.Footprint) {
			m.t.Fatalf("%v starts before %d, which it conflicts with, is settled", p, j.Activity.ID)
		}
	}
}

func (m *model) isSettled(j worker.Job) bool {
	for _, inbox := range j.Inboxes {
		if !m.settled[place{j.Activity.ID, inbox.URL}] {
			return false
		}
	}
	return true
}

func (m *model) settledAny(j worker.Job) bool {
	return slices.ContainsFunc(j.Inboxes, func(inbox worker.Inbox) bool { return m.settled[place{j.Activity.ID, inbox.URL}] })
}

func (m *model) checkNextAt() {
	at := m.NextAt(m.now)
	switch {
	case at.IsZero():
		return
	case !at.After(m.now):
		m.t.Fatalf("nothing starts, but NextAt is %s at %s", at, m.now)
	}
	if d, early := m.Next(at.Add(-1)); early {
		m.t.Fatalf("%d starts before NextAt", d.Activity.ID)
	}
}

var classes = []worker.Class{
	worker.Delivered, worker.Delivered, worker.Delivered, worker.Refused, worker.Retry, worker.Retry,
	worker.Unauthorized, worker.Throttled, worker.Gone, worker.Unusable, worker.Canceled,
}

func (m *model) end(*rapid.T) {
	if len(m.flying) == 0 {
		return
	}
	places := slices.SortedFunc(maps.Keys(m.flying), func(a, b place) int {
		return int(m.flying[a].Activity.ID-m.flying[b].Activity.ID)*4 + int(a.inbox[len(a.inbox)-1]) - int(b.inbox[len(b.inbox)-1])
	})
	p := rapid.SampledFrom(places).Draw(m.t, "which")
	o := worker.Outcome{Class: rapid.SampledFrom(classes).Draw(m.t, "outcome")}
	if o.Class == worker.Throttled && rapid.Bool().Draw(m.t, "says how long") {
		o.RetryAfter = time.Duration(rapid.IntRange(1, 1000).Draw(m.t, "retry after")) * time.Second
	}
	m.finish(p, o)
}

func (m *model) finish(p place, o worker.Outcome) {
	d := m.flying[p]
	delete(m.flying, p)
	m.Done(m.now, d, o)
	switch o.Class {
	case worker.Delivered, worker.Refused, worker.Unusable:
		m.settled[p] = true
	case worker.Unauthorized:
		m.tries401[p]++
		m.settled[p] = m.tries401[p] > 6
	case worker.Gone:
		m.settled[p] = !d.Inbox.Shared
	}
	for _, l := range m.TakeLetters() {
		if got := (place{l.ActivityID, l.Inbox}); got != p || m.settled[p] != (o.Class == worker.Unusable) {
			m.t.Fatalf("a letter for %v after %v ended with %d", got, p, o.Class)
		}
		m.settled[p] = true
	}
}

func (m *model) sleep(*rapid.T) {
	if at := m.NextAt(m.now); at.After(m.now) && rapid.Bool().Draw(m.t, "to NextAt") {
		m.now = at
		return
	}
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 100_000).Draw(m.t, "seconds")) * time.Second)
}

func (m *model) checkpoint(*rapid.T) { m.save() }

// crash loses all since the last checkpoint, and restores it as another process would.
func (m *model) crash(*rapid.T) {
	var state worker.State
	if err := json.Unmarshal(m.saved, &state); err != nil {
		m.t.Fatal(err)
	}
	m.Worker = worker.New(state, m.limits, m.now, 1)
	m.most = m.limits.MaxWindow
	m.flying = map[place]worker.Delivery{}
	m.settled, m.tries401 = maps.Clone(m.savedSettled), maps.Clone(m.savedTries401)
}

func (m *model) restore(*rapid.T) {
	ids := m.HeldIDs()
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(m.t, "id")
	at := slices.IndexFunc(m.jobs, func(j worker.Job) bool { return j.Activity.ID == id })
	if at < 0 {
		m.t.Fatalf("%d is held and was not meant", id)
	}
	if rapid.IntRange(0, 19).Draw(m.t, "is gone") > 0 {
		m.Restore(m.jobs[at])
		return
	}
	m.RestoreGone(id)
	for _, inbox := range m.jobs[at].Inboxes {
		m.settled[place{id, inbox.URL}] = true
	}
}

func (m *model) control(*rapid.T) {
	switch rapid.SampledFrom([]string{"retry", "window", "pause", "resume", "seen", "clock"}).Draw(m.t, "control") {
	case "retry":
		m.RetryNow()
	case "window":
		m.most = rapid.IntRange(1, 8).Draw(m.t, "max")
		m.SetMaxWindow(m.most)
	case "pause":
		m.PauseUntil(m.now.Add(time.Duration(rapid.IntRange(-10, 10_000).Draw(m.t, "for")) * time.Second))
	case "resume":
		m.PauseUntil(time.Time{})
	case "seen":
		m.Seen(m.now, m.now.Add(-time.Duration(rapid.IntRange(-1, 100).Draw(m.t, "hours"))*time.Hour))
	case "clock":
		m.now = m.now.Add(-time.Duration(rapid.IntRange(1, 100_000).Draw(m.t, "back")) * time.Second)
	}
}

// check holds after every step.
func (m *model) check(*rapid.T) {
	s := m.State()
	if s.Cursor < m.savedCursor {
		m.t.Fatalf("the cursor went back from %d to %d", m.savedCursor, s.Cursor)
	}
	if s.AheadID != 0 && s.AheadID <= s.Cursor {
		m.t.Fatalf("ahead %d is not beyond the cursor %d", s.AheadID, s.Cursor)
	}
	if len(s.Held) > m.limits.MaxUnsettled {
		m.t.Fatalf("%d are held", len(s.Held))
	}
	if m.InFlight() != len(m.flying) {
		m.t.Fatalf("%d in flight, want %d", m.InFlight(), len(m.flying))
	}
	held := map[int64]worker.Held{}
	for _, h := range s.Held {
		held[h.ID] = h
	}
	for _, j := range m.jobs {
		h, isHeld := held[j.Activity.ID]
		delete(held, j.Activity.ID)
		known := j.Activity.ID <= max(s.Cursor, s.AheadID)
		if isHeld && (j.Activity.ID <= s.Cursor || m.isSettled(j)) {
			m.t.Fatalf("%d is held and settled", j.Activity.ID)
		}
		if known && !isHeld && !m.isSettled(j) {
			m.t.Fatalf("%d is lost: cursor %d, ahead %d", j.Activity.ID, s.Cursor, s.AheadID)
		}
		if !known && m.settledAny(j) {
			m.t.Fatalf("%d would be repeated: cursor %d, ahead %d", j.Activity.ID, s.Cursor, s.AheadID)
		}
		m.checkDone(j, h)
	}
	if len(held) > 0 {
		m.t.Fatalf("held and not meant: %v", held)
	}
	m.Status(m.now)
}

func (m *model) checkDone(j worker.Job, h worker.Held) {
	for _, inbox := range j.Inboxes {
		if slices.Contains(h.Done, inbox.URL) != (h.ID != 0 && m.settled[place{j.Activity.ID, inbox.URL}]) {
			m.t.Fatalf("done of %d is %v", j.Activity.ID, h.Done)
		}
	}
}

// drain lets the instance take everything and wants the end of it.
func (m *model) drain() {
	m.PauseUntil(time.Time{})
	for range 20 * (len(m.jobs) + 10) {
		for len(m.HeldIDs()) > 0 {
			m.restore(nil)
		}
		m.feed(nil)
		m.next(nil)
		for p := range m.flying {
			m.finish(p, delivered)
		}
		if at := m.NextAt(m.now); at.After(m.now) {
			m.now = at
		}
		m.check(nil)
		if m.Idle() && m.Offered() == m.head {
			break
		}
	}
	for _, j := range m.jobs {
		if !m.isSettled(j) {
			m.t.Fatalf("%d was never settled: %+v, room %d", j.Activity.ID, m.Status(m.now), m.Room(m.now))
		}
	}
	if got := m.State(); got.Cursor != m.head || got.AheadID != 0 || len(got.Held) != 0 {
		m.t.Fatalf("the end is %+v, want cursor %d", got, m.head)
	}
}

func TestWorker_LosesNothingAndKeepsOrderWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"":           m.check,
			"publish":    m.publish,
			"publish 2":  m.publish,
			"feed":       m.feed,
			"next":       m.next,
			"next 2":     m.next,
			"end":        m.end,
			"end 2":      m.end,
			"sleep":      m.sleep,
			"checkpoint": m.checkpoint,
			"crash":      m.crash,
			"restore":    m.restore,
			"restore 2":  m.restore,
			"control":    m.control,
		})
		m.drain()
	})
}
