package sender

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

func TestReload_OperatorsReplayIsObeyedAlthoughEverythingChangedAtOnce(t *testing.T) {
	b := newBench(t)
	id, activities := b.settled("a.example", 2)
	b.exec(`select fedsender.replay('a.example', '-infinity')`)
	b.exec(`insert into fedsender.change (kind) values ('followers')`)
	b.read()
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	b.until("all is sent again", func() bool { return len(b.got(id)) == len(activities) })
}

// TestSave_OfAllInstancesAtOnceFitsIntoTheSession fails where one statement would take longer than the lease session
// allows: it would fail again and again, each time with more to write.
func TestSave_OfAllInstancesAtOnceFitsIntoTheSession(t *testing.T) {
	const n = 30_000
	b := newBench(t)
	b.exec(`insert into fedsender.instance (domain) select i || '.example' from generate_series(1, $1) i`, n)
	var ids []int32
	b.scan(&ids, `select array_agg(id) from fedsender.instance`)
	var slots []*slot
	for _, id := range ids {
		s := &slot{id: id, worker: worker.New(worker.State{}, worker.Limits{}, time.Time{}, 0)}
		s.worker.RetryNow() // news
		slots = append(slots, s)
	}
	b.dispatcher.add(b.dispatcher.expect(ids, false), slots)
	b.dispatcher.advance(7, time.Time{})
	for range n {
		b.dispatcher.addLetter(1, "https://a.example/"+time.Now().String(), "a reason of some length, as they are")
	}
	session, err := pg.OpenLeaseSession(t.Context(), b.leaseConfig, b.id, 0, b.log)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	b.session.Store(session)
	if err := b.save(t.Context(), nil, 0); err != nil {
		t.Error(err)
	}
	var behind int
	b.scan(&behind, `select count(*) from fedsender.queue_state where last_successful_id < 7`)
	if behind > 0 {
		t.Errorf("%d cursors were not written", behind)
	}
}
