package targets

import (
	"hash/maphash"
	"slices"
	"strings"
)

// pageSize is how many inboxes lie together. The smaller, the cheaper is the copy of a page; the larger, the fewer pages
// there are to list. A page of 256 fills its size class exactly.
const pageSize = 256

// maxInboxes is how many ids fit into a target.
const maxInboxes = 1 << 30

// chunkBytes is how much text of a first load is allocated at once.
const chunkBytes = 16 << 10

// gone is the reference count of a slot whose inbox is in use no more, but may still be in the hands of a reader.
const gone = -1

// inboxes stores each inbox of each instance once and counts who uses it. Its ids are small numbers from 1.
//
// Readers keep slices of its pages without a lock, so an inbox in a page never changes once its id was given out: what
// must change is written into a copy of the page. Slots of inboxes that nobody uses are free again after such a copy,
// which is made when half a page is gone; so what churn leaves behind is bounded.
type inboxes struct {
	// pages is copied when an element changes; it may grow in place.
	pages []*[pageSize]Inbox
	slots []*[pageSize]slot
	// unusable counts the slots of each page that are gone.
	unusable []uint16
	free     uint32 // the first free slot; the next one is its slot's next
	fresh    uint32 // the first id that was never given out

	seed  maphash.Seed
	heads []uint32 // hash chains; its length is a power of two
	used  int
	text  int64 // bytes of all URLs in use

	// exposed: there may be readers. Before, everything is written in place and text goes into chunk.
	exposed bool
	chunk   strings.Builder
}

// slot is what changes about an inbox; readers never see it.
type slot struct {
	instance int32
	refs     int32 // rows that name it; 0: free; gone
	shared   int32 // those of refs that say it is shared
	next     uint32
}

func newInboxes() inboxes {
	return inboxes{fresh: 1, seed: maphash.MakeSeed(), heads: make([]uint32, 64)}
}

func (x *inboxes) slot(id uint32) *slot { return &x.slots[id/pageSize][id%pageSize] }

func (x *inboxes) inbox(id uint32) *Inbox { return &x.pages[id/pageSize][id%pageSize] }

// view is the inbox as a slice of one that whoever gets it may keep.
func view(pages []*[pageSize]Inbox, id uint32) []Inbox {
	i := id % pageSize
	return pages[id/pageSize][i : i+1 : i+1]
}

func (x *inboxes) chain(instance int32, url string) *uint32 {
	h := maphash.String(x.seed, url) ^ uint64(uint32(instance))*0x9e3779b97f4a7c15
	return &x.heads[(h^h>>32)&uint64(len(x.heads)-1)]
}

// find returns the id of an inbox, or 0.
func (x *inboxes) find(instance int32, url string) uint32 {
	for id := *x.chain(instance, url); id != 0; id = x.slot(id).next {
		if x.slot(id).instance == instance && x.inbox(id).URL == url {
			return id
		}
	}
	return 0
}

// retain counts one more row that names an inbox and returns its id.
func (x *inboxes) retain(instance int32, url string, shared bool) uint32 {
	id := x.find(instance, url)
	if id == 0 {
		id = x.add(instance, url, shared)
	}
	s := x.slot(id)
	s.refs++
	if shared {
		s.shared++
		x.setShared(id, true)
	}
	return id
}

// release takes back one retain with the same shared.
func (x *inboxes) release(id uint32, shared bool) {
	s := x.slot(id)
	s.refs--
	if shared {
		s.shared--
	}
	if s.refs == 0 {
		x.remove(id)
	} else if s.shared == 0 {
		x.setShared(id, false)
	}
}

func (x *inboxes) setShared(id uint32, shared bool) {
	if x.inbox(id).Shared != shared {
		if x.exposed {
			x.copyPage(id / pageSize)
		}
		x.inbox(id).Shared = shared
	}
}

func (x *inboxes) add(instance int32, url string, shared bool) uint32 {
	id := x.take()
	x.used++
	x.text += int64(len(url))
	*x.inbox(id) = Inbox{URL: x.clone(url), Shared: shared}
	if x.used > len(x.heads) {
		x.grow()
	}
	head := x.chain(instance, url)
	*x.slot(id) = slot{instance: instance, next: *head}
	*head = id
	return id
}

// take returns the id of a slot that no reader knows.
func (x *inboxes) take() uint32 {
	if id := x.free; id != 0 {
		x.free = x.slot(id).next
		return id
	}
	id := x.fresh
	if id >= maxInboxes {
		panic("targets: more than a billion inboxes")
	}
	if int(id/pageSize) == len(x.pages) {
		x.pages = append(x.pages, new([pageSize]Inbox))
		x.slots = append(x.slots, new([pageSize]slot))
		x.unusable = append(x.unusable, 0)
	}
	x.fresh++
	return id
}

// clone keeps the text of a first load together: a million small strings are work for the garbage collector. Later ones
// are allocated one by one, so that none keeps the memory of others that are gone.
func (x *inboxes) clone(url string) string {
	if x.exposed || len(url) > chunkBytes/8 {
		return strings.Clone(url)
	}
	if x.chunk.Cap()-x.chunk.Len() < len(url) {
		x.chunk.Reset()
		x.chunk.Grow(chunkBytes)
	}
	x.chunk.WriteString(url)
	all := x.chunk.String()
	return all[len(all)-len(url):]
}

func (x *inboxes) remove(id uint32) {
	url, s := x.inbox(id).URL, x.slot(id)
	at := x.chain(s.instance, url)
	for *at != id {
		at = &x.slot(*at).next
	}
	*at = s.next
	x.used--
	x.text -= int64(len(url))
	s.refs = gone
	page := id / pageSize
	x.unusable[page]++
	if x.unusable[page] >= pageSize/2 {
		x.copyPage(page)
	}
}

// copyPage replaces a page by a copy that no reader has, and frees what is gone from it.
func (x *inboxes) copyPage(page uint32) {
	old, copied := x.pages[page], new([pageSize]Inbox)
	for i := range old {
		switch s := &x.slots[page][i]; {
		case s.refs > 0:
			copied[i] = old[i]
		case s.refs == gone:
			*s = slot{next: x.free}
			x.free = page*pageSize + uint32(i)
		}
	}
	x.unusable[page] = 0
	if x.exposed {
		x.pages = slices.Clone(x.pages)
	}
	x.pages[page] = copied
}

func (x *inboxes) grow() {
	x.heads = make([]uint32, 2*len(x.heads))
	for id := uint32(1); id < x.fresh; id++ {
		if s := x.slot(id); s.refs > 0 {
			head := x.chain(s.instance, x.inbox(id).URL)
			s.next, *head = *head, id
		}
	}
}

// bytes is about what all of it takes on the heap.
func (x *inboxes) bytes() int64 {
	const page = pageSize * (24 + 16)
	return int64(len(x.pages))*page + int64(4*len(x.heads)) + x.text
}
