package sender

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

// cursorSaved is what a save of one instance would write.
func cursorSaved(t *testing.T, d *dispatcher, id int32) int64 {
	t.Helper()
	v, err := d.takeSaving([]int32{id}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Checkpoints) != 1 {
		t.Fatalf("%d checkpoints, want one", len(v.Checkpoints))
	}
	return v.Checkpoints[0].Cursor
}

func TestDispatcher_InstanceThatIsHandedOverLeavesToTheNextHolderWhatIsReadMeanwhile(t *testing.T) {
	d := newDispatcher(Config{MaxInFlight: 10, MaxInFlightPerInstance: 4}, nil, nil)
	d.advance(10, time.Time{})
	var slots []*slot
	for id := range int32(2) {
		slots = append(slots, &slot{id: id, worker: worker.New(worker.State{Cursor: 10}, worker.Limits{}, time.Time{}, 0)})
	}
	d.add(d.expect([]int32{0, 1}, false), slots)
	d.advance(12, time.Time{})
	d.drain([]int32{1})
	d.advance(14, time.Time{})
	if cursor := cursorSaved(t, d, 0); cursor != 14 {
		t.Errorf("the cursor of an idle instance is %d, want that of the head", cursor)
	}
	if cursor := cursorSaved(t, d, 1); cursor != 12 {
		t.Errorf("the cursor of an instance that was drained at 12 is %d", cursor)
	}
}
