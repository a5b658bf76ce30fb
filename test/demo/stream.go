package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sourcegraph/conc/pool"
)

const (
	// writers work side by side, each on a post at a time.
	writers = 4
	// pace is the time for each activity, so that two processors keep up.
	pace        = 150 * time.Millisecond
	maxDuration = 15 * time.Second
	// lateBy is how long a late transaction stays open after it has drawn its ids.
	lateBy       = 250 * time.Millisecond
	trickleEvery = time.Second
)

// stream is the application that writes activities.
type stream struct {
	db       *pgxpool.Pool
	actors   []int64 // ids
	cast     cast
	posts    [][]transaction
	duration time.Duration

	mu         sync.Mutex
	counts     counts
	activities []activity // that were committed
}

// counts is what was written so far.
type counts struct {
	committed, late, rolledBack int // activities
	deliveries                  int // that follow from them
	planned                     int // deliveries when all is written
}

func newStream(db *pgxpool.Pool, actors []int64, c cast, activities int) *stream {
	if activities <= 0 {
		// A third of the posts goes to half of the servers.
		activities = min(max(DefaultDeliveries*6/5/len(c.domains), 40), 240)
	}
	s := &stream{
		db: db, actors: actors, cast: c,
		posts:    writePosts(max(writers, activities/perPost)),
		duration: min(time.Duration(activities)*pace, maxDuration),
	}
	for _, t := range slices.Concat(append(s.posts, s.last())...) {
		if t.fate != rolledBack {
			s.counts.planned += s.deliveriesOf(t)
		}
	}
	return s
}

// last goes to every server, so that every cursor ends there.
func (s *stream) last() []transaction {
	return []transaction{{activities: []activity{newActivity("Create", len(s.posts), ann, ann, 1)}}}
}

func (s *stream) deliveriesOf(t transaction) int {
	n := 0
	for _, a := range t.activities {
		n += s.cast.audience(a.of)
	}
	return n
}

func (s *stream) count() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// written is every activity that was committed.
func (s *stream) written() []activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.activities)
}

// run writes all posts, evenly over the duration.
func (s *stream) run(ctx context.Context) error {
	lanes := make([][]transaction, writers)
	total := 0
	for i, post := range s.posts {
		lanes[i%writers] = append(lanes[i%writers], post...)
		total += len(post)
	}
	began, step := time.Now(), s.duration/time.Duration(total)
	working := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	for i, lane := range lanes {
		working.Go(func(ctx context.Context) error {
			for n, t := range lane {
				if err := sleep(ctx, time.Until(began.Add(time.Duration(n*writers+i)*step))); err != nil {
					return err
				}
				if err := s.write(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := working.Wait(); err != nil {
		return err
	}
	return s.write(ctx, s.last()[0])
}

// trickle goes on with posts of ann, which go to every server, until ctx ends, whose cause it returns. It leaves no
// transaction whose end is not known.
func (s *stream) trickle(ctx context.Context) error {
	for n := len(s.posts) + 1; ; n++ {
		for _, t := range writePost(n, ann) {
			if err := sleep(ctx, trickleEvery); err != nil {
				return err
			}
			if err := s.write(context.WithoutCancel(ctx), t); err != nil {
				return err
			}
		}
	}
}

const insertActivity = `
	insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
	values ($1, $2, $3, array[$4::bigint])`

// write is what an application does: it inserts in a transaction of its own, and commits or does not.
func (s *stream) write(ctx context.Context, t transaction) error {
	tx, err := s.db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("write activities: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	for _, a := range t.activities {
		if _, err := tx.Exec(ctx, insertActivity, a.id, a.document, s.actors[a.actor], s.actors[a.of]); err != nil {
			return fmt.Errorf("write activity %s: %w", a.id, err)
		}
	}
	switch t.fate {
	case rolledBack:
		if err := tx.Rollback(ctx); err != nil {
			return fmt.Errorf("roll back: %w", err)
		}
		s.note(t)
		return nil
	case committedLate:
		if err := sleep(ctx, lateBy); err != nil {
			return err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit activities: %w", err)
	}
	s.note(t)
	return nil
}

func (s *stream) note(t transaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.fate == rolledBack {
		s.counts.rolledBack += len(t.activities)
		return
	}
	if t.fate == committedLate {
		s.counts.late += len(t.activities)
	}
	s.counts.committed += len(t.activities)
	s.counts.deliveries += s.deliveriesOf(t)
	s.counts.planned = max(s.counts.planned, s.counts.deliveries)
	s.activities = append(s.activities, t.activities...)
}
