package sender

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// signWith changes the actor's key, as the application does.
func (b *bench) signWith(pem any) {
	b.t.Helper()
	b.exec(`update fedsender.actor set private_key_pem = $1`, pem)
	b.keys.InvalidateAll()
	b.documents.InvalidateAll()
}

// retryAll tries all dead letters again once there is a key, and wants none to be left.
func (b *bench) retryAll(ids ...int32) {
	b.t.Helper()
	b.signWith(testKey())
	b.exec(`select fedsender.retry_dead_letter(id) from fedsender.dead_letter`)
	b.read() // what has a new id
	b.until("nothing is to be sent again", func() bool {
		require.NoError(b.t, b.redeliver(b.t.Context(), ids))
		b.saved()
		var left int
		b.scan(&left, `select (select count(*) from fedsender.redelivery) + (select count(*) from fedsender.dead_letter)`)
		return left == 0
	})
}

func (b *bench) wantOnce(activity int64, ids ...int32) {
	b.t.Helper()
	for _, id := range ids {
		if got := b.got(id); !slices.Equal(got, []int64{activity}) {
			b.t.Errorf("instance %d got %d, want %d once", id, got, activity)
		}
	}
}

func (b *bench) wantLetters(want int) {
	b.t.Helper()
	var n int
	if b.scan(&n, `select count(*) from fedsender.dead_letter`); n != want {
		b.t.Errorf("%d letters, want %d", n, want)
	}
}

func TestLetters_OfTheCatchupAreOfThoseBehindAndOfNobodyWhoGotIt(t *testing.T) {
	b := newBench(t)
	ids := []int32{b.instance("a.example"), b.instance("b.example"), b.instance("c.example")}
	b.read()
	require.NoError(t, b.Acquired(t.Context(), ids[:1]))
	activity := b.activity()
	b.read()
	b.until("the one at the head has it", func() bool { return len(b.got(ids[0])) == 1 && b.dispatcher.count().inFlight == 0 })
	b.signWith(nil)
	b.exec(`update fedsender.queue_state set last_successful_id = $1 where instance_id = any ($2)`, activity-1, ids[1:])
	require.NoError(t, b.Acquired(t.Context(), ids[1:]))
	require.Equal(t, 2, b.dispatcher.count().behind)
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	b.until("they have caught up", func() bool { return b.dispatcher.count().behind == 0 })
	b.saved()
	b.wantLetters(1)
	b.retryAll(ids...)
	b.wantOnce(activity, ids...)
}

func TestLetters_OfTheHeadAreOfThoseThatAreHeldHere(t *testing.T) {
	b := newBench(t)
	ids := []int32{b.instance("a.example"), b.instance("b.example"), b.instance("elsewhere.example")}
	b.read()
	require.NoError(t, b.Acquired(t.Context(), ids[:2]))
	b.signWith(nil)
	activity := b.activity()
	b.read()
	b.saved()
	b.wantLetters(1)
	b.exec(`update fedsender.queue_state set last_successful_id = $1 where instance_id = $2`, activity, ids[2]) // another process sent it
	require.NoError(t, b.Acquired(t.Context(), ids[2:]))
	b.retryAll(ids...)
	b.wantOnce(activity, ids[:2]...)
	if got := b.got(ids[2]); len(got) > 0 {
		t.Errorf("who had it from another process got it again")
	}
}

func TestLetters_OfARetryInVainAreOfThatInstance(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 1)
	other := b.instance("b.example")
	b.exec(askAgain, id, activities[0], "")
	b.signWith(nil)
	require.NoError(t, b.redeliver(t.Context(), []int32{id}))
	b.saved()
	var of int32
	b.scan(&of, `select instance_id from fedsender.dead_letter`)
	require.Equal(t, id, of)
	b.retryAll(id, other)
	b.wantOnce(activities[0], id)
}

func TestLetters_OfWhatIsHeldAreOfWhoHoldsIt(t *testing.T) {
	b := newBench(t)
	id, held := b.holding("a.example")
	b.signWith(nil)
	holder, err := b.readSlots(t.Context(), []int32{id}, true)
	require.NoError(t, err)
	require.Len(t, holder, 1)
	letters := b.dispatcher.unsaved.Letters
	require.Len(t, letters, 1)
	require.Equal(t, held, letters[0].ActivityID)
	require.Equal(t, id, letters[0].InstanceID)
}

func TestLetters_ThoseOfAnInstanceThatIsLostAreNotItsAnyMore(t *testing.T) {
	onStage(t, 3, func(s *stage) {
		s.refuseHeld(11, []int32{3, 2, 1}, "no key")
		s.refuseHeld(12, []int32{1, 2, 3}, "no key")
		s.refuseHeld(13, []int32{1, 2}, "no key")
		s.remove([]int32{1, 2})
		letters := s.unsaved.Letters
		if len(letters) != 2 || !slices.Equal(letters[0].InstanceIDs, []int32{3}) || !slices.Equal(letters[1].InstanceIDs, []int32{3}) {
			t.Errorf("%+v", letters)
		}
	})
}

func TestLetters_NothingMoreIsReadWhileTooManyAreNotSaved(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	if err := b.Acquired(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	before := b.dispatcher.count().head
	sent := b.activity()
	b.dispatcher.unsaved.Letters = make([]pg.Letter, maxUnsavedLetters)
	if wait, err := b.head.round(t.Context(), true); err != nil || wait == 0 {
		t.Errorf("looks again after %s, error %v", wait, err)
	}
	if at := b.dispatcher.count().head; at != before {
		t.Errorf("read up to %d", at)
	}
	b.dispatcher.unsaved.Letters = nil // as a save has it
	b.read()
	b.until("it is sent", func() bool { return slices.Equal(b.got(id), []int64{sent}) })
}
