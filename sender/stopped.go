package sender

import (
	"fmt"
	"sync/atomic"
)

// UnsavedError is what Run ends with where cursors could not be written before ctx ended or after: the lease session was
// lost and there was no other, or the database refused. Nothing is lost; the last deliveries to so many instances may be
// sent again, by whoever holds them next.
type UnsavedError struct{ Instances int }

func (e *UnsavedError) Error() string {
	return fmt.Sprintf("stopped; cursors could not be written: the last deliveries to %s may be sent again", count(e.Instances))
}

// leftovers are the instances of which the database does not know all at the end.
type leftovers struct {
	cut       atomic.Int64 // deliveries were cut off by the shutdown time-out
	unwritten atomic.Int64 // cursors could not be written, in the last session or in the one whose loss is not made up for
}

// stopped says how Run ended.
func (e *engine) stopped() error {
	if n := e.left.unwritten.Load(); n > 0 {
		return &UnsavedError{int(n)}
	}
	if n := e.left.cut.Load(); n > 0 {
		e.log.Warn("stopped; deliveries to " + count(int(n)) + " were cut off by the shutdown time-out and may be sent again")
		return nil
	}
	e.log.Info("stopped; all is saved")
	return nil
}

func count(instances int) string {
	if instances == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", instances)
}

// ending says whether Run was told to end.
func (e *engine) ending() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// unwritten counts those whose last deliveries are in no cursor; nil: of all that are held.
func (d *dispatcher) unwritten(ids []int32) (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ids == nil {
		for _, s := range d.slots {
			n += s.unwritten()
		}
	}
	for _, id := range ids {
		if s := d.slots[id]; s != nil {
			n += s.unwritten()
		}
	}
	return n
}

func (s *slot) unwritten() int64 {
	if s.inFlight > 0 || s.cutOff || s.worker.Version() != s.savedVersion {
		return 1
	}
	return 0
}
