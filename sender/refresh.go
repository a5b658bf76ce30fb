package sender

import (
	"context"
	"strings"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/targets"
)

const (
	// refreshEvery is how often the source is looked at, and how old what is known of followers, instances and lists may
	// become where no trigger tells of changes: a new follower waits no longer for his first activity, and a block for its
	// effect. It costs the database one pass through all followers.
	refreshEvery = time.Minute
	// refreshRest is how many times as long as it took a refresh is followed by none, so that two indexes are in memory for
	// less than a tenth of the time, however many followers there are.
	refreshRest = 10
)

// loaded is one consistent view of everything that decides whom an activity is for.
type loaded struct {
	source   *pg.Source
	index    *targets.Index // nil: nothing but the source was read
	snapshot pg.Snapshot
	took     time.Duration
}

// refreshing is the refresh that is under way or due next. It belongs to the goroutine of the head.
type refreshing struct {
	due    time.Time
	cancel context.CancelFunc // nil: none is under way
	group  conc.WaitGroup
	result chan result
	missed pg.Changes // that what it reads may not have
}

type result struct {
	loaded *loaded
	err    error
}

// note keeps a change for the index that is being made.
func (r *refreshing) note(c *pg.Changes) {
	if r.cancel == nil {
		return
	}
	r.missed.Pairs = append(r.missed.Pairs, c.Pairs...)
	r.missed.Tombstones = append(r.missed.Tombstones, c.Tombstones...)
	r.missed.Instances = append(r.missed.Instances, c.Instances...)
	r.missed.Lists = r.missed.Lists || c.Lists
}

// fetch reads the source and, with all, whom activities are for.
func (e *engine) fetch(ctx context.Context, all func(*pg.Source) bool) (*loaded, error) {
	started := time.Now()
	source, err := pg.ReadSource(ctx, e.pool)
	if err != nil {
		return nil, err
	}
	if err := checkVariant(&source); err != nil {
		return nil, err
	}
	f := &loaded{source: &source}
	if !all(&source) {
		return f, nil
	}
	builder := targets.NewBuilder()
	err = pg.Load(ctx, e.pool, func(l *pg.Loaded) {
		f.snapshot = l.Snapshot
		builder.Lists(listEntries(l.Allow), listEntries(l.Block))
		for i := range l.Instances {
			builder.Instance(targets.Instance(i))
		}
		for one := range l.Followers {
			builder.Follower(targets.Follower(one))
		}
		for t := range l.Tombstones {
			builder.Tombstone(targets.Tombstone(t))
		}
	})
	if err != nil {
		return nil, err
	}
	f.index = builder.Index()
	if !source.Rings {
		// No trigger noted when they came: they begin before the next activity is read, for which they count.
		if err := pg.BeginFresh(ctx, e.pool, f.index.IDs()); err != nil {
			return nil, err
		}
	}
	f.took = time.Since(started)
	return f, nil
}

// load replaces everything that is known of instances, followers and lists by one consistent view.
func (e *engine) load(ctx context.Context, feed *pg.Feed) error {
	e.abandonRefresh()
	l, err := e.fetch(ctx, func(*pg.Source) bool { return true })
	if err != nil {
		return err
	}
	e.setSource(l.source)
	e.index.Become(l.index)
	feed.ChangesSince(l.snapshot)
	stats := e.index.Stats()
	e.log.Info("loaded whom activities are for", "instances", stats.Instances, "pairs", stats.Pairs,
		"inboxes", stats.Inboxes, "took", l.took.Round(time.Millisecond))
	held := e.loadedAnew()
	e.dispatcher.wantRedeliveries(held)
	return e.rereadControls(ctx, held)
}

// loadedAnew has everybody go by the index that was put in place, and returns which instances are held.
func (e *engine) loadedAnew() (held []int32) {
	e.noteLists()
	e.forgetKeys(nil)
	e.wakeKeeper()
	held = e.dispatcher.held()
	e.dispatcher.change(held, func(s *slot, now time.Time) {
		if instance, known := e.index.Instance(s.id); known && !instance.LastSeenAt.IsZero() {
			s.worker.Seen(now, instance.LastSeenAt)
		}
		e.applyLists(s, now)
	})
	return held
}

// refresh looks at the source now and then, beside the head, and where no trigger tells of changes at everything that
// decides whom activities are for. What it has found it puts in place. It is called by the head; its error is the context's.
func (e *engine) refresh(ctx context.Context) error {
	r := &e.refreshing
	now := time.Now()
	switch {
	case r.cancel != nil:
		select {
		case found := <-r.result:
			return e.refreshed(ctx, found)
		default:
		}
	case r.due.IsZero():
		r.due = now.Add(refreshEvery)
	case !now.Before(r.due):
		e.beginRefresh(ctx)
	}
	return nil
}

func (e *engine) beginRefresh(ctx context.Context) {
	r := &e.refreshing
	ctx, r.cancel = context.WithCancel(ctx)
	r.result, r.missed = make(chan result, 1), pg.Changes{}
	knew := e.source.Load()
	r.group.Go(func() {
		// Where triggers were made since the last one, what changed before is read for the last time.
		var found result
		recovered := panics.Try(func() {
			found.loaded, found.err = e.fetch(ctx, func(source *pg.Source) bool { return !source.Rings || !knew.Rings })
		})
		if recovered != nil {
			found.err = recovered.AsError()
		}
		r.result <- found
	})
}

// abandonRefresh ends the refresh that is under way, so that there is never more than one load.
func (e *engine) abandonRefresh() {
	r := &e.refreshing
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
		r.group.Wait()
	}
	r.due, r.missed = time.Now().Add(refreshEvery), pg.Changes{}
}

func (e *engine) refreshed(ctx context.Context, found result) error {
	missed := e.refreshing.missed
	e.abandonRefresh() // it has ended
	if found.err != nil {
		e.troubled(ctx, "could not look at the source, followers and instances again; trying again in a minute", found.err)
		return ctx.Err()
	}
	l := found.loaded
	e.refreshing.due = time.Now().Add(max(refreshEvery, refreshRest*l.took))
	e.setSource(l.source)
	if l.index == nil {
		return nil
	}
	missed.Snapshot = l.snapshot
	err := e.insist(ctx, "could not read what changed; trying again", func(ctx context.Context) error {
		return e.rereadTargets(ctx, l.index, &missed)
	})
	if err != nil {
		return err
	}
	e.index.Become(l.index)
	e.log.Debug("loaded whom activities are for again", "took", l.took.Round(time.Millisecond))
	e.loadedAnew()
	return nil
}

// setSource goes by what the source says from here on.
func (e *engine) setSource(source *pg.Source) {
	before := e.source.Load()
	e.obey(source)
	switch {
	case before.Rings && !source.Rings:
		e.saySilent(source)
	case !before.Rings && source.Rings:
		e.log.Info("triggers tell of activities and of what changes; looking no more every minute")
	}
}

// saySilent says what is late where no trigger tells of it.
func (e *engine) saySilent(source *pg.Source) {
	e.log.Warn("the application's tables have no triggers that tell of news: looking for activities every 100 ms, and for followers, instances and lists every minute; sender doctor names the grant that mends it",
		"tables", strings.Join(source.SilentTables, ", "))
}
