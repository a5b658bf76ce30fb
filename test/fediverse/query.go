package fediverse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// jumble is far above how much later an entry is made than one whose header arrived after it.
const jumble = time.Second

// Accepted is how many deliveries were answered with 2xx, repeated ones included. It costs nothing.
func (l *Ledger) Accepted(domain string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if domain == "" {
		return l.accepted
	}
	if book := l.byDomain[domain]; book != nil {
		return book.accepted
	}
	return 0
}

// Count is how many deliveries arrived, whatever the answer. It costs nothing.
func (l *Ledger) Count(domain string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if domain == "" {
		return l.count
	}
	if book := l.byDomain[domain]; book != nil {
		return len(book.entries)
	}
	return 0
}

// Refused is how many connections, or requests on open ones, the instance's [Link] turned away.
func (l *Ledger) Refused(domain string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for _, book := range l.booksOf(domain) {
		total += book.refused
	}
	return total
}

// Domains are those that something arrived at or was refused by, in order.
func (l *Ledger) Domains() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.byDomain))
}

// Since is how many deliveries of the process arrived later than the time and were accepted.
func (l *Ledger) Since(process string, after time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count, least := 0, int64(after.Sub(l.start))
	for seq := l.count - 1; seq >= 0; seq-- {
		e := l.at(seq)
		if e.arrived < least-int64(jumble) {
			break
		}
		if e.arrived > least && e.accepted() && l.processes.all[e.process] == process {
			count++
		}
	}
	return count
}

// ByProcess is how many deliveries of each process were accepted.
func (l *Ledger) ByProcess() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[string]int{}
	for seq := range l.count {
		if e := l.at(seq); e.accepted() {
			found[l.processes.all[e.process]]++
		}
	}
	return found
}

// Violations are the first thousand, and how many there were in all.
func (l *Ledger) Violations() (first []Violation, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.violations), l.violated
}

// Deliveries are all that arrived, in order of arrival.
func (l *Ledger) Deliveries(domain string) []Delivery {
	return l.collect(domain, func(*entry) bool { return true })
}

// Taken are the ids of the activities that a domain has accepted, in order of arrival.
func (l *Ledger) Taken(domain string) (ids []string) {
	for _, d := range l.collect(domain, (*entry).accepted) {
		ids = append(ids, d.Activity)
	}
	return ids
}

// WaitTaken waits until a domain has accepted exactly these activities, whatever the order. When ctx ends first, the
// error says what it has.
func (l *Ledger) WaitTaken(ctx context.Context, domain string, ids ...string) error {
	want := slices.Sorted(slices.Values(ids))
	var got []string
	err := l.WaitFor(ctx, func() bool {
		got = slices.Sorted(slices.Values(l.Taken(domain)))
		return slices.Equal(got, want)
	})
	if err != nil {
		return fmt.Errorf("%s has %q, want %q: %w", domain, got, want, err)
	}
	return nil
}

// FirstArrivals are, for each inbox and activity, the first delivery that was accepted, in order of arrival.
func (l *Ledger) FirstArrivals(domain string) []Delivery {
	var seen pairs
	return l.collect(domain, func(e *entry) bool { return e.accepted() && seen.add(e) })
}

// Duplicates are the deliveries that were accepted although the same inbox had accepted the same activity before, in
// order of arrival.
func (l *Ledger) Duplicates(domain string) []Delivery {
	var seen pairs
	return l.collect(domain, func(e *entry) bool { return e.accepted() && !seen.add(e) })
}

// Overlap is a pair of deliveries of different processes to one instance, the second of which arrived while the first
// was open: two processes held the instance at one time.
type Overlap struct{ First, Second Delivery }

// Overlaps returns at most one for each delivery, in order of arrival.
func (l *Ledger) Overlaps(domain string) []Overlap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Overlap
	for _, book := range l.booksOf(domain) {
		last := map[uint32]uint32{} // of each process, the entry that ends last
		for _, seq := range book.entries {
			e := l.at(int(seq))
			for process, other := range last {
				if process != e.process && l.endOf(l.at(int(other))) > e.arrived {
					found = append(found, Overlap{l.delivery(int(other)), l.delivery(int(seq))})
					break
				}
			}
			if other, ok := last[e.process]; !ok || l.endOf(l.at(int(other))) < l.endOf(e) {
				last[e.process] = seq
			}
		}
	}
	sort.Slice(found, func(a, b int) bool { return found[a].Second.Seq < found[b].Second.Seq })
	return found
}

// Forget empties the ledger. No delivery may be open.
func (l *Ledger) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
	l.tell()
}

func (l *Ledger) collect(domain string, wanted func(*entry) bool) []Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Delivery
	for seq := range l.seqs(domain) {
		if wanted(l.at(seq)) {
			found = append(found, l.delivery(seq))
		}
	}
	return found
}

// seqs are the entries of a domain, or of all, in order of arrival. Callers hold mu.
func (l *Ledger) seqs(domain string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if domain == "" {
			for seq := range l.count {
				if !yield(seq) {
					return
				}
			}
			return
		}
		for _, book := range l.booksOf(domain) {
			for _, seq := range book.entries {
				if !yield(int(seq)) {
					return
				}
			}
		}
	}
}

func (l *Ledger) booksOf(domain string) []*book {
	if domain == "" {
		return l.books
	}
	if found := l.byDomain[domain]; found != nil {
		return []*book{found}
	}
	return nil
}

// endOf is when the delivery ended; an open one has not.
func (l *Ledger) endOf(e *entry) int64 {
	if e.ended == 0 {
		return l.now()
	}
	return e.ended
}

// pairs is a set of inbox and activity, one bit each.
type pairs struct{ bits [][]uint64 }

// add returns whether the pair of the entry was not there.
func (p *pairs) add(e *entry) bool {
	inbox, word := int(e.inbox), int(e.activity/64)
	if inbox >= len(p.bits) {
		p.bits = append(p.bits, make([][]uint64, inbox+1-len(p.bits))...)
	}
	if word >= len(p.bits[inbox]) {
		p.bits[inbox] = append(p.bits[inbox], make([]uint64, word+1-len(p.bits[inbox]))...)
	}
	bit := uint64(1) << (e.activity % 64)
	had := p.bits[inbox][word]&bit != 0
	p.bits[inbox][word] |= bit
	return !had
}

// has says whether the pair is there.
func (p *pairs) has(inbox, activity uint32) bool {
	word := int(activity / 64)
	return int(inbox) < len(p.bits) && word < len(p.bits[inbox]) && p.bits[inbox][word]&(1<<(activity%64)) != 0
}
