package chaos

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/lease"
)

// Without the deadline of the leases a process goes on with what it has read although the database has fallen silent, while
// the server gives its leases to others. This shows that the checker tells, and that the deadline is what prevents it.
func TestWithoutTheDeadlineTwoHoldersAreFound(t *testing.T) {
	beside(t)
	t.Run("without", func(t *testing.T) {
		beside(t)
		if found := silentDatabase(t, "noterm"); found == 0 {
			t.Error("no two holders were found without the deadline: the checker can't fail")
		}
	})
	t.Run("with", func(t *testing.T) {
		beside(t)
		if found := silentDatabase(t, ""); found > 0 {
			t.Error("two holders were found")
		}
	})
}

// silentDatabase has a process hear nothing from its database until others hold its instances and deliver, and counts
// requests of two holders. Receivers are slow, so that what it has read lasts.
func silentDatabase(t *testing.T, tag string) (overlaps int) {
	ctx := within(t)
	const instances, each = 20, 100
	s := newStorm(t, &stage{
		name: "silent", senders: 3, tag: tag, hosted: true, build: plainServer,
		spread: spread{actors: 1, instances: instances, hot: instances, most: 1}, answer: 5 * time.Second,
	})
	s.random = choices("silent")
	s.ready(ctx)
	w := newWriter(0, s.rig, seed(), nil)
	for range each {
		w.begin()
		w.chain.inboxes, w.chain.followersOf = []string{}, s.world.Actors
		if err := insert(ctx, s.writing, w.rows(1)); err != nil {
			t.Fatal(err)
		}
	}
	s.progress(ctx, instances)
	victim, host := s.hosted()
	held := s.backend(ctx, victim)
	i := s.suffer(victim.Name)
	s.do(host.DropFromDatabase)
	s.takeover(ctx, i.at, held)
	s.progress(ctx, 3*instances)
	i.struck()
	i.lost = i.at.Add(lease.Term)
	s.progress(ctx, 3*instances) // it has read for half a minute
	s.do(host.Heal)
	j := &judgement{}
	s.judgeOverlaps(j, 0)
	s.watch.judge(j, s.rig, 0)
	t.Logf("two holders: %d requests at one time, %d without the lock; sent before: %d", j.overlaps, j.strangers, j.fromBefore)
	for _, sender := range s.Senders() {
		sender.Kill() // the one whose database was silent has cursors that it can't write
	}
	return j.overlaps + j.strangers
}
