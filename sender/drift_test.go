package sender

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
)

// breaks are what an upgrade of the application may do to the tables, and how sender migrate mends it.
var breaks = map[string]struct{ breaks, mends string }{
	"a column that the head reads": {
		`alter view fedsender.source_activity rename column published_at to published`, `alter view fedsender.source_activity rename column published to published_at`,
	},
	"the body": {
		`alter view fedsender.source_activity rename column body to data`, `alter view fedsender.source_activity rename column data to body`,
	},
	"the table": {
		`alter view fedsender.source_activity rename to away`, `alter view fedsender.away rename to source_activity`,
	},
	"what finds the keys": {
		`alter function fedsender.actor_of(bigint) rename to away`, `alter function fedsender.away(bigint) rename to actor_of`,
	},
}

func TestDrift_NothingIsSkippedWhileTablesAreOthersAndAllGoesOnByItself(t *testing.T) {
	for name, how := range breaks {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := b.instance("a.example")
			b.read()
			if err := b.Acquired(t.Context(), []int32{id}); err != nil {
				t.Fatal(err)
			}
			b.exec(how.breaks)
			var activities []int64
			for range 3 {
				activities = append(activities, b.activity())
			}
			b.beside(func() { b.head.run(t.Context()) })
			b.until("it says that the tables are others", func() bool { return errors.Is(b.ready(), pg.ErrTablesChanged) })
			// What this brings about is told by no trigger.
			b.exec(`alter table fedsender.follower disable trigger user`)
			unheard := b.known("unheard.example")
			b.follow(unheard, "unheard.example")
			b.exec(how.mends)
			b.within(12*driftPause, "all is sent", func() bool {
				return slices.Equal(slices.Sorted(slices.Values(b.got(id))), activities)
			})
			b.within(12*driftPause, "it is ready but for the leases", func() bool { return !errors.Is(b.ready(), pg.ErrTablesChanged) })
			if pairs := b.index.Stats().Pairs; pairs != 2 {
				t.Errorf("%d pairs are known, want 2: who followed meanwhile was told by no trigger", pairs)
			}
		})
	}
}

func TestDrift_TheCatchUpSkipsNothingWhileTablesAreOthers(t *testing.T) {
	for name, how := range breaks {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := b.instance("a.example")
			b.read()
			if err := b.Acquired(t.Context(), []int32{id}); err != nil {
				t.Fatal(err)
			}
			b.dispatcher.change([]int32{id}, func(s *slot, _ time.Time) { b.dispatcher.leaveHead(s) })
			var activities []int64
			for range 3 {
				activities = append(activities, b.activity())
			}
			b.read()
			b.exec(how.breaks)
			b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
			b.until("it fails", func() bool { return b.drifts.Load() > 0 })
			b.exec(how.mends)
			b.within(12*driftPause, "all is sent", func() bool {
				return slices.Equal(slices.Sorted(slices.Values(b.got(id))), activities)
			})
		})
	}
}

func TestDrift_NothingMoreIsSentOnceCursorsCantBeSavedForLong(t *testing.T) {
	b := newBench(t)
	id, first := b.guarded("a.example")
	b.exec(`alter function fedsender.save_checkpoints(jsonb) rename to away`)
	second := b.activity()
	b.deliver(id, second)
	b.inSession(func() {
		if err := b.save(t.Context(), nil, 0); !pg.TablesChanged(err) {
			t.Fatalf("saved: %v", err)
		}
	})
	b.until("the answer is unsaved for long", func() (late bool) {
		b.dispatcher.change([]int32{id}, func(s *slot, now time.Time) {
			if late = !s.unsavedSince.IsZero(); late {
				s.unsavedSince = now.Add(-hurryUnsaved)
			}
		})
		return late
	})
	third := b.activity()
	b.read()
	b.dispatcher.change([]int32{id}, func(s *slot, _ time.Time) {
		if s.inFlight > 0 {
			t.Error("something is in flight")
		}
	})
	if got := b.got(id); !slices.Equal(got, []int64{first, second}) {
		t.Errorf("sent %d", got)
	}
	b.exec(`alter function fedsender.away(jsonb) rename to save_checkpoints`)
	b.saved()
	b.until("it goes on", func() bool { return slices.Equal(b.got(id), []int64{first, second, third}) })
}

func TestDrift_IsSaidInOneSentenceHoweverMuchFails(t *testing.T) {
	b := newBench(t)
	said := make(chan string, 100)
	b.log = slog.New(sayings{slog.DiscardHandler, said})
	b.exec(`alter view fedsender.source_activity rename to away`)
	for _, what := range []string{"could not read this", "could not read that", "could not write"} {
		_, err := pg.ReadRange(t.Context(), b.pool, 0, 1, 1)
		b.troubled(t.Context(), what, err)
	}
	close(said)
	var all []string
	for line := range said {
		all = append(all, line)
	}
	if !slices.Equal(all, []string{pg.ErrTablesChanged.Error()}) {
		t.Errorf("said %q", all)
	}
}

func TestDrift_AtTheStartItEndsWithWhatToDo(t *testing.T) {
	b := newBench(t)
	b.exec(`alter view fedsender.source_follower rename to away`)
	err := b.insistAtStart(t.Context(), func(ctx context.Context) error { return b.load(ctx, b.head.feed) })
	if !errors.Is(err, pg.ErrTablesChanged) || !strings.Contains(err.Error(), "source_follower") {
		t.Errorf("ended with: %v", err)
	}
}

func TestDrift_TablesOfAnotherFormAreNotRead(t *testing.T) {
	b := newBench(t)
	b.exec(fleet.Source(map[string]string{"variant": `'1'`, "variant_now": `'2'`}))
	if err := b.load(t.Context(), b.head.feed); !errors.Is(err, pg.ErrTablesChanged) {
		t.Errorf("loaded: %v", err)
	}
}
