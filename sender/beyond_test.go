package sender

import (
	"errors"
	"testing"
)

func TestLookBack_OfIdsThatAreDrawnAgainBeginsAnew(t *testing.T) {
	b := newBench(t)
	b.instance("a.example")
	for range 3 {
		b.activity()
	}
	b.read()
	b.exec(`update fedsender.feed set horizon = 3`)
	b.inSession(func() {
		b.lookBack(t.Context())
		b.exec(`delete from fedsender.activity where id = 3`)
		b.lookBack(t.Context())
		if err := b.session.Load().Ring(t.Context(), ""); err != nil {
			t.Fatalf("without a cause: %v", err)
		}
		b.exec(`delete from fedsender.activity where id = 2`)
		b.exec(`select setval('fedsender.activity_id_seq', 1)`)
		b.lookBack(t.Context())
		if err := b.session.Load().Wait(t.Context()); !errors.Is(err, errWentBack) {
			t.Errorf("the session ended with %v", err)
		}
	})
	if err := b.head.rewind(t.Context()); err != nil {
		t.Fatal(err)
	}
	if head := b.dispatcher.count().head; head != 1 {
		t.Errorf("it goes on behind %d, want 1", head)
	}
	if again := b.activity(); again != 2 {
		t.Fatalf("the id that is drawn again is %d", again)
	}
	b.read()
	if head := b.dispatcher.count().head; head != 2 {
		t.Errorf("it has read up to %d, want 2", head)
	}
}
