package sender

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
	"github.com/fedsender/fedsender/worker"
)

const (
	// chunkRows is how many activities the catch-up reads at once at most, without bodies. It begins with firstRows, which
	// have enough for one who wants a part of them, and reads twice as many where it goes on.
	chunkRows = 2000
	firstRows = 500
	// meetRows is how many rows of a round those who want nothing of them are taken on by, to meet others who stand further
	// on and read the rest together with them. Everybody waits for that.
	meetRows = 4 * chunkRows
	// chunkCount is how many chunks are kept: about 300 bytes a row.
	chunkCount = 16
	// bodiesAtOnce bounds the bodies that one round reads of one chunk.
	bodiesAtOnce = 256
	// tellEvery is how long a worker does not know that it was passed by what it does not want. To tell thousands costs more
	// than to read a chunk; a save writes their cursors once a second at most.
	tellEvery = saveEvery / 2
)

// catchup reads for the instances that are behind. Chunks are read once for all who stand in them, and only the bodies
// that somebody wants. It holds up neither the head nor those who are further on.
type catchup struct {
	engine  *engine
	chunks  []*chunk // most recently used last
	rewound int64
	passing []place   // that wanted nothing so far, between rounds
	told    time.Time // when the workers were told last how far they are
}

// chunk is the activities in (after, through], without bodies.
type chunk struct {
	after, through int64
	rows           []pg.Activity
	questions      []*targets.Question // of rows
}

// find returns the place of the first row whose id is at least id.
func (c *chunk) find(id int64) int {
	i, _ := slices.BinarySearchFunc(c.rows, id, func(a pg.Activity, id int64) int { return cmp.Compare(a.ID, id) })
	return i
}

// run works until ctx ends.
func (c *catchup) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.engine.dispatcher.feed:
		}
		for more := true; more && ctx.Err() == nil; {
			if c.engine.dispatcher.overfull() {
				pause(ctx, saveEvery)
				continue
			}
			var err error
			if more, err = c.round(ctx); err != nil {
				c.engine.troubled(ctx, "could not read the backlog; trying again", err)
				pause(ctx, time.Second)
			}
		}
	}
}

// publishedAt is when the last of the rows up to id was published; zero: there is none.
func (c *chunk) publishedAt(id int64) (at time.Time) {
	if next := c.find(id + 1); next > 0 {
		at = c.rows[next-1].PublishedAt
	}
	return at
}

// place is where a slot stands that was taken from the hungry ones. The slot counts as hungry until it is told.
type place struct {
	slot        *slot
	id          int32     // of the slot
	from        int64     // where its worker stood
	at          int64     // it wants nothing up to here
	publishedAt time.Time // there; zero: not known
	room        int
}

// round gives every hungry slot what the chunk that it stands in has for it. Those that want nothing of it go on, together
// with whom they meet. more says that some want more at once.
func (c *catchup) round(ctx context.Context) (more bool, err error) {
	d := c.engine.dispatcher
	places, end := d.takeHungry(c.passing)
	c.passing = nil
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	for spare := meetRows; len(places) > 0 && ctx.Err() == nil; {
		if places, err = c.step(ctx, places, end, &spare); err != nil {
			break
		}
	}
	d.putBack(places)
	c.tell(end, err != nil)
	return err != nil || len(c.passing) > 0 || d.anyHungry(), err
}

// step serves those of the places, which are sorted, who stand in the same chunk as the first. It returns the others, and
// those who wanted nothing and are near to the next, or may spare the rows to get there.
func (c *catchup) step(ctx context.Context, places []place, end int64, spare *int) ([]place, error) {
	ch, err := c.chunk(ctx, places[0].at, end)
	if err != nil {
		return places, err
	}
	here := 1
	for here < len(places) && places[here].at < ch.through {
		here++
	}
	left, err := c.serve(ctx, ch, places[:here])
	if err != nil {
		return places, err
	}
	if left > 0 && here < len(places) {
		near := places[here].at-ch.through < chunkRows
		if near || *spare > 0 {
			if !near {
				*spare -= len(ch.rows)
			}
			return places[here-left:], nil
		}
	}
	c.passing = append(c.passing, places[here-left:here]...)
	return places[here:], nil
}

// tell has the workers of those who are passing know how far they are, when it is time for it or at once, and of those
// who have reached the end in any case.
func (c *catchup) tell(end int64, atOnce bool) {
	if time.Since(c.told) >= tellEvery {
		c.told, atOnce = time.Now(), true
	}
	var shares []*share
	c.passing = slices.DeleteFunc(c.passing, func(p place) bool {
		if !atOnce && p.at < end {
			return false
		}
		shares = append(shares, &share{place: p, through: p.at, publishedAt: p.publishedAt})
		return true
	})
	if len(shares) > 0 {
		c.engine.dispatcher.serve(shares, nil, nil)
	}
}

// takeHungry empties the list of hungry slots, into places where those who are passing stand already; those that have
// reached the head are behind no more. end is how far may be read: all up to it is decided.
func (d *dispatcher) takeHungry(passing []place) (places []place, end int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	end = max(d.head, d.reading)
	// The instance of one that was dropped may be held again: it must not be there twice.
	places = slices.DeleteFunc(passing, func(p place) bool { return p.slot.dropped })
	for id, s := range d.hungry {
		delete(d.hungry, id)
		room, at := s.worker.Room(now), s.worker.Offered()
		switch {
		case !s.behind || s.draining || room <= 0:
			s.hungry = false
		case at >= end:
			s.hungry, s.behind = false, false
			d.behind--
		default:
			places = append(places, place{slot: s, id: s.id, from: at, at: at, room: room})
		}
	}
	return places, end
}

func (d *dispatcher) anyHungry() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hungry) > 0
}

// putBack makes slots that were not served hungry again.
func (d *dispatcher) putBack(places []place) {
	if len(places) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, p := range places {
		p.slot.hungry = false
		d.look(p.slot, now)
	}
}

// chunk returns the kept chunk that continues after the id, or reads it.
func (c *catchup) chunk(ctx context.Context, after, end int64) (*chunk, error) {
	if rewound := c.engine.rewound.Load(); rewound != c.rewound {
		c.chunks, c.rewound = nil, rewound
	}
	limit := firstRows
	for i, ch := range c.chunks {
		if ch.after <= after && after < ch.through {
			c.chunks = append(slices.Delete(c.chunks, i, i+1), ch)
			return ch, nil
		}
		if ch.through == after {
			limit = min(max(limit, 2*len(ch.rows)), chunkRows)
		}
	}
	rows, err := pg.ReadRange(ctx, c.engine.pool, after, end, limit)
	if err != nil {
		return nil, err
	}
	c.engine.metrics.ActivitiesRead(len(rows))
	ch := &chunk{after: after, through: end, rows: rows, questions: make([]*targets.Question, len(rows))}
	for i := range rows {
		ch.questions[i] = targets.NewQuestion(query(&rows[i]))
	}
	if len(rows) == limit {
		ch.through = rows[len(rows)-1].ID
	}
	if len(c.chunks) == chunkCount {
		c.chunks = slices.Delete(c.chunks, 0, 1)
	}
	c.chunks = append(c.chunks, ch)
	return ch, nil
}

// want is an activity for one slot.
type want struct {
	id      int64
	forFew  bool
	inboxes []worker.Inbox
}

// share is what one slot gets, and how far that brings it.
type share struct {
	place       place
	wants       []want
	through     int64
	publishedAt time.Time // there; zero: not known
	full        bool
}

// take adds a row that is for the slot, unless it has no room or the round no more bodies: then the share ends before it.
func (s *share) take(ch *chunk, row *pg.Activity, inboxes []worker.Inbox, bodies map[int64]*worker.Activity) {
	_, known := bodies[row.ID]
	if len(s.wants) == s.place.room || !known && len(bodies) == bodiesAtOnce {
		s.through, s.full = row.ID-1, true
		s.publishedAt = ch.publishedAt(s.through)
		return
	}
	if !known {
		bodies[row.ID] = nil
	}
	s.wants = append(s.wants, want{row.ID, forFew(row), inboxes})
}

// serve gives the slots what they want of the chunk. Those that want nothing go behind it: they are the last of the
// places then, left is how many.
func (c *catchup) serve(ctx context.Context, ch *chunk, places []place) (left int, err error) {
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.id, b.id) })
	bodies := map[int64]*worker.Activity{}
	shares := c.share(ch, places, bodies)
	if len(shares) > 0 {
		reasons, err := c.prepare(ctx, bodies)
		if err != nil {
			return 0, err
		}
		c.engine.dispatcher.serve(shares, bodies, reasons)
	}
	publishedAt := ch.publishedAt(ch.through)
	for i, n := len(places)-1, len(shares)-1; i >= 0; i-- {
		if n >= 0 && shares[n].place.id == places[i].id {
			n--
			continue
		}
		left++
		to := &places[len(places)-left]
		*to = places[i]
		to.at, to.publishedAt = ch.through, publishedAt
	}
	return left, nil
}

// asker is a slot of which rows are asked whether they are for it.
type asker struct {
	place *place
	share *share // nil: none was
}

// share asks of each row once for whom it is, however many may want it, and returns the shares of those who want something.
// Places and shares are in the order of ids.
func (c *catchup) share(ch *chunk, places []place, bodies map[int64]*worker.Activity) (shares []*share) {
	askers, ids := make([]asker, len(places)), make([]int32, len(places))
	first := places[0].at
	for i := range places {
		askers[i].place, ids[i] = &places[i], places[i].id
		first = min(first, places[i].at)
	}
	full := 0 // of those who ask
	for i := ch.find(first + 1); i < len(ch.rows) && len(ids) > 0; i++ {
		row := &ch.rows[i]
		c.engine.index.Among(ch.questions[i], ids, func(n int, inboxes []worker.Inbox) {
			a := &askers[n]
			if a.place.at >= row.ID || a.share != nil && a.share.full {
				return
			}
			if inboxes = a.place.slot.wanted(row, inboxes); len(inboxes) == 0 {
				return
			}
			if a.share == nil {
				a.share = &share{place: *a.place, through: ch.through, publishedAt: ch.publishedAt(ch.through)}
				shares = append(shares, a.share)
			}
			if a.share.take(ch, row, inboxes, bodies); a.share.full {
				full++
			}
		})
		if 2*full > len(ids) {
			askers, full = slices.DeleteFunc(askers, func(a asker) bool { return a.share != nil && a.share.full }), 0
			ids = ids[:0]
			for _, a := range askers {
				ids = append(ids, a.place.id)
			}
		}
	}
	slices.SortFunc(shares, func(a, b *share) int { return cmp.Compare(a.place.id, b.place.id) })
	return shares
}

// prepare fills in the activities whose ids are in bodies. What is gone stays nil, and what can't be sent, with the reason.
func (c *catchup) prepare(ctx context.Context, bodies map[int64]*worker.Activity) (reasons map[int64]string, err error) {
	var missing []int64
	reasons = map[int64]string{}
	for id := range bodies {
		if p, ok := c.engine.documents.GetIfPresent(id); ok {
			bodies[id] = p.activity
		} else {
			missing = append(missing, id)
		}
	}
	err = c.engine.eachActivity(ctx, missing, func(row *pg.Activity, activity *worker.Activity, reason string) {
		if bodies[row.ID] = activity; reason != "" {
			reasons[row.ID] = reason
		}
	})
	return reasons, err
}

// forFew says whether an activity is for few instances by its row alone: that of a group with few followers is not found.
func forFew(row *pg.Activity) bool {
	return !row.AllInstances && len(row.FollowersOf) == 0 && len(row.Inboxes) <= few
}

// serve offers what was prepared to the slots that still stand where they stood.
func (d *dispatcher) serve(shares []*share, bodies map[int64]*worker.Activity, reasons map[int64]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	refused := map[int64][]int32{}
	for _, sh := range shares {
		s := sh.place.slot
		s.hungry = false
		if !s.dropped && !s.draining && s.behind && s.worker.Offered() == sh.place.from {
			d.give(s, sh, bodies)
			for _, w := range sh.wants {
				if reasons[w.id] != "" {
					refused[w.id] = append(refused[w.id], s.id)
				}
			}
		}
		d.look(s, now)
	}
	for id, ids := range refused {
		d.putAside(id, ids, reasons[id], now)
	}
	d.dispatch()
}

// give offers a slot its share and passes what the slot does not want.
func (d *dispatcher) give(s *slot, sh *share, bodies map[int64]*worker.Activity) {
	s.worker.Pass(sh.place.at, sh.place.publishedAt)
	deliveries := 0
	for _, w := range sh.wants {
		deliveries += len(w.inboxes)
		if activity := bodies[w.id]; activity != nil {
			s.worker.Offer(worker.Job{Activity: activity, Inboxes: w.inboxes})
			if w.forFew && w.id > d.head-hurryWithin {
				s.hurry()
			}
		}
	}
	s.worker.Pass(sh.through, sh.publishedAt)
	s.density.note(sh.through-sh.place.from, deliveries)
	d.density.note(sh.through-sh.place.from, deliveries)
}
