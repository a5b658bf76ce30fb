package sender

import (
	"slices"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// maxUnsavedLetters bounds the memory, of a few hundred bytes each, where the database takes no save for long and what is
// read can't be sent: nothing more is read then.
const maxUnsavedLetters = 100_000

// overfull says whether so many letters wait for a save.
func (d *dispatcher) overfull() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unsaved.Letters) >= maxUnsavedLetters
}

// putAside notes that instances don't get an activity because it can't be prepared: one letter, however many they are. It
// names them, because others may have got it: from another process, or while the key was still there. The caller holds d.mu.
func (d *dispatcher) putAside(activityID int64, instanceIDs []int32, reason string, now time.Time) {
	letter := pg.Letter{ActivityID: activityID, Reason: reason, FirstAt: now, LastAt: now}
	switch len(instanceIDs) {
	case 0:
		return
	case 1:
		letter.InstanceID = instanceIDs[0]
	default:
		slices.Sort(instanceIDs)
		letter.InstanceIDs = instanceIDs
		if n := len(d.unsaved.Letters); n > 0 && slices.Equal(d.unsaved.Letters[n-1].InstanceIDs, instanceIDs) {
			letter.InstanceIDs = d.unsaved.Letters[n-1].InstanceIDs // many of one actor are for the same thousands
		}
	}
	d.unsaved.Letters = append(d.unsaved.Letters, letter)
}

// refuse has the workers of its targets pass an activity that can't be prepared.
func (d *dispatcher) refuse(row *pg.Activity, found []target, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := clock()
	var ids []int32
	for _, t := range found {
		if _, inboxes := d.due(row, t, now); len(inboxes) > 0 {
			ids = append(ids, t.id)
		}
	}
	d.putAside(row.ID, ids, reason, now)
	d.head, d.headAt = row.ID, row.PublishedAt
}

// refuseHeld is for an activity that instances hold, who are about to join.
func (d *dispatcher) refuseHeld(activityID int64, instanceIDs []int32, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.putAside(activityID, instanceIDs, reason, clock())
}

// voidLetters drops letters of instances that were not saved with a cursor that passes them, and with them which redeliveries
// are settled, some of them by such a letter: who holds them next begins with what the database has.
func (d *dispatcher) voidLetters(void func(instanceID int32) bool) {
	d.unsaved.Letters = slices.DeleteFunc(d.unsaved.Letters, func(l pg.Letter) bool {
		return len(l.InstanceIDs) > 0 && !slices.ContainsFunc(l.InstanceIDs, func(id int32) bool { return !void(id) }) || void(l.InstanceID)
	})
	for i := range d.unsaved.Letters {
		if l := &d.unsaved.Letters[i]; slices.ContainsFunc(l.InstanceIDs, void) {
			l.InstanceIDs = slices.DeleteFunc(slices.Clone(l.InstanceIDs), void) // others may share it
		}
	}
	d.unsaved.Redelivered = slices.DeleteFunc(d.unsaved.Redelivered, func(r pg.Redelivery) bool { return void(r.InstanceID) })
}

// fitting is how many of the letters one save takes, at least one of those there are.
func fitting(letters []pg.Letter) (n int) {
	instances := 0
	for n < min(len(letters), maxLetters) {
		instances += len(letters[n].InstanceIDs)
		if n > 0 && instances > maxLetterInstances {
			break
		}
		n++
	}
	return n
}
