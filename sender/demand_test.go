package sender

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

func TestDensity_IsThatOfTheLastIDs(t *testing.T) {
	var d density
	require.Zero(t, d.perID())
	d.note(1000, 10)
	require.InDelta(t, 0.01, d.perID(), 1e-9)
	for range 100 {
		d.note(2000, 400)
	}
	require.InDelta(t, 0.2, d.perID(), 0.01)
	d.note(0, 0)
	require.InDelta(t, 0.2, d.perID(), 0.01)
}

func TestPressure_IsWhatWasBetweenTwoLooks(t *testing.T) {
	var p pressure
	said := pg.Process{}
	p.look(noon, demand{arrived: 5, head: 100}, 100, &said)
	require.Zero(t, said.ArrivingPerSecond, "the first one tells nothing")
	p.look(noon.Add(5*time.Second), demand{
		waiting: 12.9, instances: 2, inFlight: 80, behind: 0.5, arrived: 105, head: 300,
	}, 100, &said)
	require.EqualValues(t, 12, said.Waiting)
	require.Equal(t, 2, said.WaitingInstances)
	require.InDelta(t, 40, said.ArrivingPerSecond, 1e-9, "20 came to those at the head, 40 ids a second bring 20 to the others")
	require.GreaterOrEqual(t, said.Busy, 0.4, "the room in flight, evened out")
	require.LessOrEqual(t, said.Busy, 1.0)
}

func TestDemand_EstimatesABacklogByWhatWasReadOfIt(t *testing.T) {
	const every, all = 10, 10_000
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	gate := make(chan struct{})
	post := b.dispatcher.post
	b.dispatcher.post = func(ctx context.Context, s *slot, d worker.Delivery) worker.Outcome {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return post(ctx, s, d)
	}
	b.exec(`
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		select 'https://home.example/' || n, '{"type":"Note"}', $1, case when n % $2::int = 0 then array[$1::bigint] else '{}' end
		from generate_series(1, $3::int) n`, b.actor, every, all)
	b.read()
	if err := b.Acquired(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	var got demand
	b.until("some are on their way", func() bool {
		got = b.dispatcher.demand(time.Now())
		return got.inFlight > 0 && got.instances == 1
	})
	require.InDelta(t, all/every, got.waiting+float64(got.inFlight), all/every/20)
	require.InDelta(t, 1.0/every, got.behind, 0.01)

	close(gate)
	b.until("all is delivered", func() bool { return len(b.got(id)) == all/every })
	b.until("nothing waits", func() bool { return b.dispatcher.demand(time.Now()).waiting == 0 })
}
