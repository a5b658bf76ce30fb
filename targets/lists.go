package targets

import "time"

// ListEntry is a row of the allow list or of the block list.
type ListEntry struct {
	Domain string
	// ExpiresAt is when the entry stops to count; zero: never.
	ExpiresAt time.Time
}

// list is when each domain's entry expires, by domainKey; zero: never.
type list struct {
	expiries map[string]time.Time
	// last is the expiry of the entry that lasts longest.
	last time.Time
}

func newList(entries []ListEntry) list {
	l := list{expiries: make(map[string]time.Time, len(entries))}
	for i, e := range entries {
		key := domainKey(e.Domain)
		if old, twice := l.expiries[key]; !twice || outlasts(e.ExpiresAt, old) {
			l.expiries[key] = e.ExpiresAt
		}
		if i == 0 || outlasts(e.ExpiresAt, l.last) {
			l.last = e.ExpiresAt
		}
	}
	return l
}

// counts says whether any entry is still valid.
func (l list) counts(now time.Time) bool { return len(l.expiries) > 0 && valid(l.last, now) }

func (l list) has(key string, now time.Time) bool {
	expiry, ok := l.expiries[key]
	return ok && valid(expiry, now)
}

func valid(expiry, now time.Time) bool { return expiry.IsZero() || now.Before(expiry) }

func outlasts(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// Blocked says whether nothing may be sent to an instance at that time. If the allow list has any entry that has not
// expired, only the domains on it are free and the block list is ignored. Domains match exactly: a block of example.com
// doesn't block sub.example.com or example.com:8443. An instance that the index doesn't know is blocked, because nobody
// can tell that it isn't.
func (x *Index) Blocked(instanceID int32, now time.Time) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	in, ok := x.state.instances[instanceID]
	if !ok {
		return true
	}
	if x.state.allow.counts(now) {
		return !x.state.allow.has(in.key, now)
	}
	return x.state.block.has(in.key, now)
}

// NextExpiry returns when the next entry of a list expires after now: then Blocked may answer otherwise. Zero: never.
func (x *Index) NextExpiry(now time.Time) time.Time {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var next time.Time
	for _, l := range []list{x.state.allow, x.state.block} {
		for _, expiry := range l.expiries {
			if expiry.After(now) && outlasts(next, expiry) {
				next = expiry
			}
		}
	}
	return next
}
