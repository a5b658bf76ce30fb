package pg_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// Applications write these rows. One that could not be read would stop every delivery, for all instances.

func TestFeed_ReadsRowsWithNullsInArraysAndDatesOutOfRange(t *testing.T) {
	b := newFeedBench(t)
	feed := b.feed(t)
	rows, err := b.db.Query(t.Context(), `
		insert into fedsender.activity (ap_id, data, actor_id, published_at, send_inboxes, send_followers_of)
		values
		  ('https://home.example/1', '{}', $1, 'infinity', array[null, 'https://a.example/inbox'], array[null, 7]),
		  ('https://home.example/2', '{}', $1, '-infinity', '{{https://a.example/1,https://a.example/2}}', '{}'),
		  ('https://home.example/3', '{}', $1, '20000-01-01', '{}', '[0:1][2:3]={{-8,null},{9,10}}'),
		  ('https://home.example/4', '{}', $1, '0044-03-15 BC', '{}', '{null}'),
		  ('https://home.example/5', '{}', $1, '2026-01-02T03:04:05.678901Z', '{}', '{}')`, b.actor)
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
	batch, err := feed.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(batch.Activities) != 4 {
		t.Fatalf("read %d activities, want 4", len(batch.Activities))
	}
	if got := batch.Activities[0]; !slices.Equal(got.Inboxes, []string{"https://a.example/inbox"}) || !slices.Equal(got.FollowersOf, []int64{7}) {
		t.Errorf("inboxes %q, followers of %d: nulls should be passed over", got.Inboxes, got.FollowersOf)
	}
	if got := batch.Activities[1].Inboxes; len(got) != 2 {
		t.Errorf("inboxes %q, want both", got)
	}
	if got := batch.Activities[2].FollowersOf; !slices.Equal(got, []int64{-8, 9, 10}) {
		t.Errorf("followers of %d, want those of all dimensions", got)
	}
	for i, year := range []int{9999, 1970, 9999, 1970} {
		if got := batch.Activities[i].PublishedAt.UTC().Year(); got != year {
			t.Errorf("activity %d was made in %d, want it brought near to %d", i+1, got, year)
		}
	}
	// The last one names nobody: it is only counted.
	last := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	if batch.Count != 5 || !batch.PublishedAt.Equal(last) {
		t.Errorf("read %d activities, the last of %s, want 5 and %s", batch.Count, batch.PublishedAt, last)
	}
}

func TestLoad_ReadsDatesOutOfRange(t *testing.T) {
	b := newFeedBench(t)
	_, err := b.db.Exec(t.Context(), `
		insert into fedsender.instance (domain, last_seen_at) values ('a.example', 'infinity'), ('b.example', '-infinity');
		insert into fedsender.domain_block (domain, expires_at)
		values ('never.example', 'infinity'), ('past.example', '-infinity'), ('far.example', '20000-01-01');
		insert into fedsender.instance_control (instance_id, paused_until)
		select id, '-infinity' from fedsender.instance;
		update fedsender.queue_state set last_retry_at = 'infinity'`)
	if err != nil {
		t.Fatal(err)
	}
	err = pg.Load(t.Context(), b.db, func(l *pg.Loaded) {
		for i := range l.Instances {
			if i.Domain == "a.example" && i.LastSeenAt.Before(time.Now()) {
				t.Errorf("an instance seen in all future was last seen at %s", i.LastSeenAt)
			}
		}
		for range l.Followers {
		}
		for range l.Tombstones {
		}
		for _, entry := range l.Block {
			if over := entry.ExpiresAt.Before(time.Now()); over != (entry.Domain == "past.example") {
				t.Errorf("the block of %s ends at %s", entry.Domain, entry.ExpiresAt)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	states, err := pg.ReadQueueStates(t.Context(), b.db, instanceIDs(t, t.Context(), b))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.PausedUntil.After(time.Now()) {
			t.Errorf("paused until %s", s.PausedUntil)
		}
	}
}

func instanceIDs(t *testing.T, ctx context.Context, b *feedBench) (ids []int32) {
	t.Helper()
	if err := b.db.QueryRow(ctx, `select array_agg(id) from fedsender.instance`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	return ids
}
