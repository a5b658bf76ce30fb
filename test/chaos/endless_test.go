package chaos

import (
	"testing"
	"time"
)

// Without the deadline of the leases a process goes on although the database is silent, and what it sent is on its way when
// its link comes back; by then the server has given its leases to others. This shows that the checker would tell.
func TestWithoutTheDeadlineTwoHoldersAreFound(t *testing.T) {
	parallel(t)
	ctx := within(t)
	s := newStorm(t, &stage{name: "endless", senders: 3, tag: "noterm", hosted: true, build: plainServer})
	s.random = choices("endless")
	s.ready(ctx)
	l := s.load(ctx, busyPerSecond, seed())
	defer l.stop(t)
	s.progress(ctx, 50)
	linkBack(14*time.Second)(ctx, s)
	l.stop(t)
	s.ready(ctx)
	s.waitArrived(ctx)
	j := &judgement{}
	s.judgeOverlaps(j, 0)
	s.watch.judge(j, s.rig, 0)
	t.Logf("two holders: %d requests at one time, %d without the lock", j.overlaps, j.strangers)
	if j.overlaps+j.strangers == 0 {
		t.Error("no two holders were found without the deadline: the checker can't fail")
	}
	s.end()
}
