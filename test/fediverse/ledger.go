package fediverse

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// chunkEntries keeps a growing ledger from being copied: 2 MiB at a time.
	chunkEntries = 1 << 16
	// maxViolations is how many are kept with their reasons.
	maxViolations = 1000
)

// Delivery is one POST that arrived.
type Delivery struct {
	Seq        int // order of arrival over all instances, from 0
	Domain     string
	Path       string    // of the inbox, with its query
	Activity   string    // the id of the activity; empty when its body did not arrive
	Process    string    // X-Fedsender-Process
	Connection int       // that it came on: a number of its own for each
	Arrived    time.Time // its header had arrived
	Ended      time.Time // its answer was decided; zero before that
	Dated      time.Time // its Date; long before all others when it had none that can be read
	Status     int       // 0 when there was no answer, or is none yet
}

// Accepted says whether it counts as delivered: any 2xx does, whatever follows it.
func (d Delivery) Accepted() bool { return d.Status/100 == 2 }

// Violation is a request that some known server would refuse.
type Violation struct {
	Delivery Delivery
	Reason   string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s to %s%s: %s", v.Delivery.Activity, v.Delivery.Domain, v.Delivery.Path, v.Reason)
}

// Ledger has every POST in order of arrival: 40 bytes each, beside one copy of each name. Its methods are safe for
// several goroutines. An empty domain means all of them.
type Ledger struct {
	start time.Time

	mu         sync.Mutex
	chunks     [][]entry
	count      int
	accepted   int
	activities names
	processes  names
	inboxes    []inbox
	books      []*book // of domains
	byDomain   map[string]*book
	violations []Violation
	violated   int
	changed    chan struct{} // closed at the next change; nil when nobody waits
}

// entry is a Delivery. Times are nanoseconds after Ledger.start, by the monotonic clock.
type entry struct {
	arrived, ended  int64 // ended is 0 while it is open
	inbox, activity uint32
	process         uint32
	connection      uint32
	age             int32 // seconds by which its Date was older than its arrival
	status          uint16
}

func (e *entry) accepted() bool { return e.status/100 == 2 }

type inbox struct {
	book *book
	path string
}

// book is what the ledger knows of a domain.
type book struct {
	domain   string
	inboxes  map[string]uint32 // path → index
	entries  []uint32
	accepted int
	refused  int
}

// names gives small numbers to strings; 0 is the empty one.
type names struct {
	index map[string]uint32
	all   []string
}

func newNames() names { return names{index: map[string]uint32{"": 0}, all: []string{""}} }

func (n *names) number(name string) uint32 {
	number, ok := n.index[name]
	if !ok {
		number = uint32(len(n.all))
		name = strings.Clone(name)
		n.index[name] = number
		n.all = append(n.all, name)
	}
	return number
}

func newLedger() *Ledger {
	l := &Ledger{}
	l.forget()
	return l
}

func (l *Ledger) forget() {
	l.start = time.Now()
	l.chunks, l.count, l.accepted, l.inboxes, l.books = nil, 0, 0, nil, nil
	l.activities, l.processes, l.byDomain = newNames(), newNames(), map[string]*book{}
	l.violations, l.violated = nil, 0
}

func (l *Ledger) now() int64 { return max(1, int64(time.Since(l.start))) }

// at returns the entry of a sequence number. Callers hold mu.
func (l *Ledger) at(seq int) *entry { return &l.chunks[seq/chunkEntries][seq%chunkEntries] }

func (l *Ledger) book(domain string) *book {
	found, ok := l.byDomain[domain]
	if !ok {
		found = &book{domain: strings.Clone(domain), inboxes: map[string]uint32{}}
		l.byDomain[found.domain] = found
		l.books = append(l.books, found)
	}
	return found
}

// arrive opens an entry and returns its sequence number.
func (l *Ledger) arrive(x *Exchange) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	book := l.book(x.Domain)
	number, ok := book.inboxes[x.Path]
	if !ok {
		number = uint32(len(l.inboxes))
		path := strings.Clone(x.Path)
		book.inboxes[path] = number
		l.inboxes = append(l.inboxes, inbox{book, path})
	}
	seq := l.count
	l.count++
	if seq%chunkEntries == 0 {
		l.chunks = append(l.chunks, make([]entry, chunkEntries))
	}
	date, _ := http.ParseTime(x.r.Header.Get("Date"))
	*l.at(seq) = entry{
		arrived: int64(x.arrived.Sub(l.start)), age: int32(min(x.arrived.Sub(date)/time.Second, math.MaxInt32)),
		inbox: number, process: l.processes.number(x.Process), connection: x.connection,
	}
	book.entries = append(book.entries, uint32(seq))
	l.tell()
	return seq
}

func (l *Ledger) identify(seq int, activity string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at(seq).activity = l.activities.number(activity)
}

// accept notes a status before the answer ends.
func (l *Ledger) accept(seq, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setStatus(seq, status)
}

// end notes the status and closes the entry.
func (l *Ledger) end(seq, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at(seq).ended = l.now()
	l.setStatus(seq, status)
}

func (l *Ledger) setStatus(seq, status int) {
	e := l.at(seq)
	before := e.accepted()
	e.status = uint16(status)
	if !before && e.accepted() {
		l.accepted++
		l.inboxes[e.inbox].book.accepted++
	}
	l.tell()
}

func (l *Ledger) violate(seq int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated++
	if len(l.violations) < maxViolations {
		l.violations = append(l.violations, Violation{l.delivery(seq), reason})
	}
}

// refuse counts a connection that a Link turned away.
func (l *Ledger) refuse(domain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book(domain).refused++
	l.tell()
}

// delivery shows an entry. Callers hold mu.
func (l *Ledger) delivery(seq int) Delivery {
	e := l.at(seq)
	inbox := l.inboxes[e.inbox]
	d := Delivery{
		Seq: seq, Domain: inbox.book.domain, Path: inbox.path,
		Activity: l.activities.all[e.activity], Process: l.processes.all[e.process], Connection: int(e.connection),
		Arrived: l.start.Add(time.Duration(e.arrived)), Status: int(e.status),
	}
	d.Dated = d.Arrived.Add(-time.Duration(e.age) * time.Second)
	if e.ended != 0 {
		d.Ended = l.start.Add(time.Duration(e.ended))
	}
	return d
}

// tell wakes those who wait. Callers hold mu.
func (l *Ledger) tell() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// WaitFor blocks until the condition holds, which it asks now and after changes of the ledger: a delivery arrives or
// is answered, a connection is refused. Changes that come while the condition is asked are joined. It returns the
// cause when ctx ends.
func (l *Ledger) WaitFor(ctx context.Context, condition func() bool) error {
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the ledger: %w", context.Cause(ctx))
		}
	}
}
