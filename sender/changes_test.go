package sender

import (
	"slices"
	"testing"

	"github.com/fedsender/fedsender/pg"
)

func TestApply_UnfollowAfterTheChangesWereReadDoesNotTakeBackWhatWasCommittedBefore(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	a := b.activity()
	batch, err := b.head.feed.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Something else about the pair is read again at a moment when the follower has left.
	b.exec(`delete from fedsender.follower`)
	batch.Changes.Pairs = append(batch.Changes.Pairs, pg.Pair{ActorID: b.actor, InstanceID: id})
	if err := b.apply(t.Context(), b.head.feed, &batch.Changes); err != nil {
		t.Fatal(err)
	}
	b.exec(`update fedsender.queue_state set last_successful_id = $1`, a-1)
	if err := b.Acquired(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	if err := b.head.offer(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	b.until("it is sent", func() bool { return slices.Equal(b.got(id), []int64{a}) })
}
