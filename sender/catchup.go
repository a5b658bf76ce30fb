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
	// chunkRows is how many activities the catch-up reads at once, without bodies.
	chunkRows = 2000
	// chunkCount is how many chunks are kept: about 300 bytes a row.
	chunkCount = 16
	// bodiesAtOnce bounds the bodies that one round reads of one chunk.
	bodiesAtOnce = 256
)

// catchup reads for the instances that are behind. Chunks are read once for all who stand in them, and only the bodies
// that somebody wants. It holds up neither the head nor those who are further on.
type catchup struct {
	engine  *engine
	chunks  []*chunk // most recently used last
	rewound int64
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
			var err error
			if more, err = c.round(ctx); err != nil {
				c.engine.troubled(ctx, "could not read the backlog; trying again", err)
				pause(ctx, time.Second)
			}
		}
	}
}

// place is where a hungry slot stands when a round begins.
type place struct {
	slot *slot
	at   int64 // its position
	room int
}

// round gives every hungry slot what the chunk that it stands in has for it. more says that some want more at once.
func (c *catchup) round(ctx context.Context) (more bool, err error) {
	places, end := c.engine.dispatcher.takeHungry()
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	for len(places) > 0 && ctx.Err() == nil {
		ch, err := c.chunk(ctx, places[0].at, end)
		if err != nil {
			c.engine.dispatcher.putBack(places)
			return true, err
		}
		here := 1
		for here < len(places) && places[here].at < ch.through {
			here++
		}
		if err := c.serve(ctx, ch, places[:here]); err != nil {
			c.engine.dispatcher.putBack(places)
			return true, err
		}
		places = places[here:]
	}
	return c.engine.dispatcher.anyHungry(), nil
}

// takeHungry empties the list of hungry slots; those that have reached the head are behind no more. end is how far may
// be read: all up to it is decided.
func (d *dispatcher) takeHungry() (places []place, end int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	end = max(d.head, d.reading)
	for id, s := range d.hungry {
		delete(d.hungry, id)
		s.hungry = false
		room := s.worker.Room(now)
		switch {
		case !s.behind || s.draining || room <= 0:
		case s.worker.Offered() >= end:
			s.behind = false
			d.behind--
		default:
			places = append(places, place{slot: s, at: s.worker.Offered(), room: room})
		}
	}
	return places, end
}

func (d *dispatcher) anyHungry() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hungry) > 0
}

// putBack makes slots hungry again after an error.
func (d *dispatcher) putBack(places []place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, p := range places {
		d.look(p.slot, now)
	}
}

// chunk returns the kept chunk that continues after the id, or reads it.
func (c *catchup) chunk(ctx context.Context, after, end int64) (*chunk, error) {
	if rewound := c.engine.rewound.Load(); rewound != c.rewound {
		c.chunks, c.rewound = nil, rewound
	}
	for i, ch := range c.chunks {
		if ch.after <= after && after < ch.through {
			c.chunks = append(slices.Delete(c.chunks, i, i+1), ch)
			return ch, nil
		}
	}
	rows, err := pg.ReadRange(ctx, c.engine.pool, after, end, chunkRows)
	if err != nil {
		return nil, err
	}
	c.engine.metrics.ActivitiesRead(len(rows))
	ch := &chunk{after: after, through: end, rows: rows, questions: make([]*targets.Question, len(rows))}
	for i := range rows {
		ch.questions[i] = targets.NewQuestion(query(&rows[i]))
	}
	if len(rows) == chunkRows {
		ch.through = rows[len(rows)-1].ID
	}
	if len(c.chunks) == chunkCount {
		c.chunks = slices.Delete(c.chunks, 0, 1)
	}
	c.chunks = append(c.chunks, ch)
	return ch, nil
}

// want is an activity of the chunk for one slot.
type want struct {
	row     int
	inboxes []worker.Inbox
}

// share is what one slot gets of a chunk, and how far that brings it.
type share struct {
	place   place
	wants   []want
	through int64
	full    bool
}

// take adds a row that is for the slot, unless it has no room or the round no more bodies: then the share ends before it.
func (s *share) take(ch *chunk, i int, inboxes []worker.Inbox, bodies map[int64]*worker.Activity) {
	row := &ch.rows[i]
	if inboxes = s.place.slot.wanted(row, inboxes); len(inboxes) == 0 {
		return
	}
	_, known := bodies[row.ID]
	if len(s.wants) == s.place.room || !known && len(bodies) == bodiesAtOnce {
		s.through, s.full = row.ID-1, true
		return
	}
	if !known {
		bodies[row.ID] = nil
	}
	s.wants = append(s.wants, want{i, inboxes})
}

func (c *catchup) serve(ctx context.Context, ch *chunk, places []place) error {
	shares := make([]share, len(places))
	for i, p := range places {
		shares[i] = share{place: p, through: ch.through}
	}
	bodies := map[int64]*worker.Activity{}
	c.share(ch, shares, bodies)
	if err := c.prepare(ctx, ch, bodies); err != nil {
		return err
	}
	c.engine.dispatcher.serve(ch, shares, bodies)
	return nil
}

// share asks of each row once for whom it is, however many may want it. The first of the shares stands before the others.
func (c *catchup) share(ch *chunk, shares []share, bodies map[int64]*worker.Activity) {
	asking, ids := make([]*share, len(shares)), make([]int32, len(shares)) // in the order of ids
	for i := range shares {
		asking[i] = &shares[i]
	}
	slices.SortFunc(asking, func(a, b *share) int { return cmp.Compare(a.place.slot.id, b.place.slot.id) })
	for i, s := range asking {
		ids[i] = s.place.slot.id
	}
	full := 0 // of those who ask
	for i := ch.find(shares[0].place.at + 1); i < len(ch.rows) && len(ids) > 0; i++ {
		c.engine.index.Among(ch.questions[i], ids, func(n int, inboxes []worker.Inbox) {
			s := asking[n]
			if s.full || s.place.at >= ch.rows[i].ID {
				return
			}
			if s.take(ch, i, inboxes, bodies); s.full {
				full++
			}
		})
		if 2*full > len(ids) {
			asking, full = slices.DeleteFunc(asking, func(s *share) bool { return s.full }), 0
			ids = ids[:0]
			for _, s := range asking {
				ids = append(ids, s.place.slot.id)
			}
		}
	}
}

// prepare fills in the activities whose ids are in bodies. What can't be sent, or is gone, stays nil.
func (c *catchup) prepare(ctx context.Context, ch *chunk, bodies map[int64]*worker.Activity) error {
	var missing []int64
	for id := range bodies {
		if p, ok := c.engine.documents.GetIfPresent(id); ok {
			bodies[id] = p.activity
		} else {
			missing = append(missing, id)
		}
	}
	return c.engine.eachActivity(ctx, missing, func(row *pg.Activity, activity *worker.Activity, reason string) {
		if reason != "" {
			c.engine.dispatcher.addLetter(row.ID, "", reason)
		}
		bodies[row.ID] = activity
	})
}

// serve offers what was prepared to the slots that still stand where they stood.
func (d *dispatcher) serve(ch *chunk, shares []share, bodies map[int64]*worker.Activity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	for _, sh := range shares {
		s := sh.place.slot
		if s.dropped || s.draining || !s.behind || s.worker.Offered() != sh.place.at {
			continue
		}
		deliveries := 0
		for _, w := range sh.wants {
			row := &ch.rows[w.row]
			deliveries += len(w.inboxes)
			if activity := bodies[row.ID]; activity != nil {
				s.worker.Offer(worker.Job{Activity: activity, Inboxes: w.inboxes})
			}
		}
		s.density.note(sh.through-sh.place.at, deliveries)
		d.density.note(sh.through-sh.place.at, deliveries)
		publishedAt := time.Time{}
		if next := ch.find(sh.through + 1); next > 0 {
			publishedAt = ch.rows[next-1].PublishedAt
		}
		s.worker.Pass(sh.through, publishedAt)
		d.look(s, now)
	}
	d.dispatch()
}
