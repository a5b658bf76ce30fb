package sender

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// backlog makes so many activities, of which each hundredth is for the followers of the actor and the others for nobody.
// It returns the first id and those that somebody wants.
func (b *bench) backlog(rows int) (first int64, wanted []int64) {
	b.t.Helper()
	b.exec(`
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		select 'https://home.example/' || n, '{"type":"Note"}', $1, case when n % 100 = 0 then array[$1::bigint] else '{}' end
		from generate_series(1, $2::int) n`, b.actor, rows)
	b.scan(&first, `select min(id) from fedsender.activity`)
	b.scan(&wanted, `select array_agg(id order by id) from fedsender.activity where send_followers_of <> '{}'`)
	return first, wanted
}

// TestCatchup_ReadsABacklogOnceForAllWhoStandInIt has instances all over more rows than are kept in memory.
func TestCatchup_ReadsABacklogOnceForAllWhoStandInIt(t *testing.T) {
	const rows, quiet, following = 40_000, 24, 4
	b := newBench(t)
	cursors := map[int32]int64{}
	var ids []int32
	for n := range quiet + following {
		var id int32
		if n < following {
			id = b.instance(fmt.Sprint("follows-", n, ".example"))
		} else {
			b.scan(&id, `insert into fedsender.instance (domain) values ($1) returning id`, fmt.Sprint("quiet-", n, ".example"))
		}
		ids = append(ids, id)
	}
	b.read()
	first, wanted := b.backlog(rows)
	b.read()
	for n, id := range ids {
		cursors[id] = first - 1 + int64(rows/len(ids)*n)
		b.exec(`update fedsender.queue_state set last_successful_id = $2 where instance_id = $1`, id, cursors[id])
	}
	require.NoError(t, b.Acquired(t.Context(), ids))
	require.Equal(t, len(ids), b.dispatcher.count().behind)
	before := b.activitiesRead()
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	b.inSession(func() {
		b.until("all have caught up", func() bool {
			require.NoError(t, b.save(t.Context(), nil, 0)) // otherwise nothing more is sent after a second
			return b.dispatcher.count().behind == 0 && len(b.dispatcher.unsettled()) == 0
		})
	})
	for n, id := range ids {
		var want []int64
		for _, activity := range wanted {
			if n < following && activity > cursors[id] {
				want = append(want, activity)
			}
		}
		require.ElementsMatch(t, want, b.got(id), "from %d on", cursors[id])
	}
	require.Less(t, b.activitiesRead()-before, float64(2*rows))
}

func TestCatchup_InstanceThatIsHeldAgainWhileItIsPassingGetsWhatItWants(t *testing.T) {
	b := newBench(t)
	id := b.instance("a.example")
	b.read()
	b.exec(`
		insert into fedsender.activity (ap_id, data, actor_id)
		select 'https://home.example/' || n, '{"type":"Note"}', $1 from generate_series(1, $2::int) n`, b.actor, 2*firstRows)
	activity := b.activity()
	b.read()
	require.NoError(t, b.Acquired(t.Context(), []int32{id}))
	c := &catchup{engine: b.engine, told: time.Now().Add(time.Hour)}
	_, err := c.round(t.Context())
	require.NoError(t, err)
	require.Len(t, c.passing, 1)

	b.dispatcher.remove([]int32{id})
	b.exec(`update fedsender.queue_state set last_successful_id = $1`, activity-10) // so that it comes behind the one that was dropped
	require.NoError(t, b.Acquired(t.Context(), []int32{id}))
	for more := true; more; {
		more, err = c.round(t.Context())
		require.NoError(t, err)
	}
	b.until("it is sent", func() bool { return len(b.got(id)) > 0 })
	require.Equal(t, []int64{activity}, b.got(id))
}

// unsettled are the instances whose cursor is not at the head.
func (d *dispatcher) unsettled() (ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, s := range d.slots {
		if !s.worker.Idle() || s.worker.Cursor() < d.head {
			ids = append(ids, id)
		}
	}
	return ids
}

func (b *bench) activitiesRead() float64 {
	b.t.Helper()
	n, err := strconv.ParseFloat(b.scrape("fedsender_activities_read_total"), 64)
	require.NoError(b.t, err)
	return n
}
