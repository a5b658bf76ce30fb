package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// answerAfter keeps deliveries in flight for as long as a quick server's answer travels. They count as delivered from
// the start, so that whatever breaks off an answer makes a duplicate.
const answerAfter = 20 * time.Millisecond

// rig is a cluster, and what was done to it. It belongs to the test's goroutine.
type rig struct {
	*fleet.Cluster
	t       *testing.T
	world   *fleet.World
	reach   [][]string    // inboxes of the followers, by actor
	writing *pgxpool.Pool // of the writers

	started   []*fleet.Sender // those that have ended included
	incidents []*incident
	moves     []time.Time // when processes came and went, or had their shares after that
	writers   int         // that there were; each has a number of its own

	moved map[string]string // domains whose inboxes redirect, and where to
}

// spread says whom the actors reach.
type spread struct {
	actors, instances int
	// hot instances have followers of every actor, as the large servers do; beside them an actor has some on one to most
	// of the others.
	hot, most int
}

func (s spread) follows(actor, instance int) bool {
	if instance < s.hot {
		return true
	}
	others := s.instances - s.hot
	first := actor * max(1, others/s.actors) % others
	return (instance-s.hot-first+others)%others <= actor%s.most
}

// newRig makes actors, instances and followers; no sender runs yet.
func newRig(t *testing.T, binary, database string, config fediverse.Config, s spread) *rig {
	t.Helper()
	c, err := fleet.NewCluster(t.Context(), binary, database, config)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Cluster: c, t: t}
	t.Cleanup(r.close)
	poolConfig, err := pgxpool.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	poolConfig.MaxConns = 60
	if r.writing, err = pgxpool.NewWithConfig(t.Context(), poolConfig); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.writing.Close)
	r.world, err = fleet.Seed(t.Context(), c.DB, c.Fedi, fleet.Seeding{Actors: s.actors, Instances: s.instances, Followers: s.follows})
	if err != nil {
		t.Fatal(err)
	}
	for actor := range s.actors {
		var inboxes []string
		for i, domain := range r.world.Instances {
			if s.follows(actor, i) {
				inboxes = append(inboxes, fleet.SharedInbox(domain))
			}
		}
		r.reach = append(r.reach, inboxes)
	}
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), time.Minute)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if !r.t.Failed() {
		return
	}
	for _, s := range r.started {
		lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
		r.t.Logf("%s said last:\n%s", s.Name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// start starts senders and waits until they are ready.
func (r *rig) start(ctx context.Context, n int) []*fleet.Sender {
	r.t.Helper()
	fresh, err := r.Start(ctx, n)
	r.started = append(r.started, fresh...)
	if err != nil {
		r.t.Fatal(err)
	}
	return fresh
}

// startHolding starts senders and waits until each of n holds some instances and none is without a holder.
func (r *rig) startHolding(ctx context.Context, fresh, n int) {
	r.t.Helper()
	r.start(ctx, fresh)
	if err := r.WaitHeld(ctx, n); err != nil {
		r.t.Fatal(err)
	}
}

// progress waits until n more deliveries were accepted.
func (r *rig) progress(ctx context.Context, n int) {
	r.t.Helper()
	ledger := r.Fedi.Ledger()
	goal := ledger.Accepted("") + n
	if err := ledger.WaitFor(ctx, func() bool { return ledger.Accepted("") >= goal }); err != nil {
		r.t.Fatal(err)
	}
}

// holders returns how many instances each lease session holds, by the pid of its backend.
func (r *rig) holders(ctx context.Context) (map[int]int, error) {
	rows, err := r.DB.Query(ctx, `
		select pid, count(*)
		from pg_locks
		where locktype = 'advisory' and classid = $1::int8::oid and objsubid = 2 and granted
		  and database = (select oid from pg_database where datname = current_database())
		group by pid`, int64(pg.LeaseClass))
	if err != nil {
		return nil, err
	}
	held := map[int]int{}
	var pid, count int
	_, err = pgx.ForEachRow(rows, []any{&pid, &count}, func() error { held[pid] = count; return nil })
	return held, err
}

// backend returns the pid of the server's end of a sender's lease session.
func (r *rig) backend(ctx context.Context, s *fleet.Sender) int {
	r.t.Helper()
	var pid int
	err := fleet.Until(ctx, s.Name+" is known", func() (bool, error) {
		err := r.DB.QueryRow(ctx, `
			select coalesce(max(a.pid), 0)
			from pg_stat_activity a
			join fedsender.process p on p.id = split_part(a.application_name, ':', 2)
			where a.application_name like 'fedsender:%' and p.name = $1`, s.Name).Scan(&pid)
		return pid != 0, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

// takeover waits until every instance is held by other sessions than one, and returns how long that took. A database that
// gives no answer is asked again.
func (r *rig) takeover(ctx context.Context, since time.Time, gone int) time.Duration {
	r.t.Helper()
	total := 0
	err := fleet.Until(ctx, "every instance is held by others", func() (bool, error) {
		held, err := r.holders(ctx)
		total = 0
		for pid, count := range held {
			if pid != gone {
				total += count
			}
		}
		return err == nil && total >= len(r.world.Instances), nil
	})
	if err != nil {
		r.t.Fatalf("%v: %d of %d are", err, total, len(r.world.Instances))
	}
	return time.Since(since)
}

// wanted is what each inbox should have, by the table: whatever the writers believe, what stands there was committed.
const wanted = `
	select distinct a.id, a.ap_id, t.inbox, split_part(t.inbox, '/', 3) as domain
	from fedsender.activity a
	cross join lateral (
	  select unnest(a.send_inboxes) as inbox
	  union all
	  select coalesce(f.shared_inbox, f.inbox) from fedsender.follower f where f.actor_id = any (a.send_followers_of)
	  union all
	  select i.shared_inbox from fedsender.instance i where a.send_all_instances and i.shared_inbox is not null
	) t`

func (r *rig) expected(ctx context.Context) (fediverse.Expected, int) {
	r.t.Helper()
	rows, err := r.DB.Query(ctx, `select ap_id, inbox from (`+wanted+`) w`)
	if err != nil {
		r.t.Fatal(err)
	}
	expected, total := fediverse.Expected{}, 0
	var id, inbox string
	if _, err := pgx.ForEachRow(rows, []any{&id, &inbox}, func() error {
		for from, to := range r.moved {
			inbox = strings.Replace(inbox, "://"+from+"/", "://"+to+"/", 1)
		}
		expected.Add(inbox, id)
		total++
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return expected, total
}

// finish waits until everything has arrived, stops the senders and checks what holds after any fault: nothing lost, nothing
// that was not committed, conflicting ones in order, nothing to be sent again, no lease left behind.
func (r *rig) finish(ctx context.Context) fediverse.Verdict {
	r.t.Helper()
	expected := r.waitArrived(ctx)
	// The time of the test may be over; what is wrong is told all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	r.stopAll(ctx)
	r.checkEnd(ctx)
	verdict := r.Fedi.Ledger().Verdict(expected, order)
	r.t.Log(verdict)
	if verdict.Lost+verdict.Unexpected+verdict.OutOfOrder+verdict.Violations > 0 {
		r.t.Error(strings.Join(verdict.Examples, "\n"))
	}
	return verdict
}

// waitArrived waits until all that was committed has arrived, and returns what that is.
func (r *rig) waitArrived(ctx context.Context) fediverse.Expected {
	r.t.Helper()
	expected, total := r.expected(ctx)
	ledger := r.Fedi.Ledger()
	err := fleet.Until(ctx, "everything has arrived", func() (bool, error) {
		return ledger.Accepted("") >= total && ledger.Verdict(expected, order).Lost == 0, nil
	})
	if err != nil {
		r.t.Error(err)
	}
	return expected
}

// stopAll stops every sender at one time; each must exit with 0.
func (r *rig) stopAll(ctx context.Context) {
	r.t.Helper()
	senders := r.Senders()
	failed := make(chan error, len(senders))
	for _, s := range senders {
		go func() { failed <- s.Stop(ctx) }()
	}
	for range senders {
		if err := <-failed; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) checkEnd(ctx context.Context) {
	r.t.Helper()
	behind, err := r.behind(ctx)
	if err != nil || behind > 0 {
		r.t.Errorf("%d cursors would have something sent again (%v)", behind, err)
	}
	// A session's locks go when its backend ends, a moment after its client.
	err = fleet.Until(ctx, "no lease is left", func() (bool, error) {
		held, err := r.holders(ctx)
		return len(held) == 0, err
	})
	if err != nil {
		r.t.Error(err)
	}
}

// behind is how many cursors have not passed the last activity for their instance. Who read the last activities only to
// find that nothing is meant for its instances need not have written that.
func (r *rig) behind(ctx context.Context) (count int, err error) {
	err = r.DB.QueryRow(ctx, `
		select count(*)
		from (select domain, max(id) as last from (`+wanted+`) w group by domain) d
		join fedsender.instance i using (domain)
		join fedsender.queue_state q on q.instance_id = i.id
		where q.last_successful_id < d.last`).Scan(&count)
	return count, err
}

// someSender is one of those that run.
func (r *rig) someSender(random *rand.Rand) *fleet.Sender {
	senders := r.Senders()
	return senders[random.IntN(len(senders))]
}

func sortedCopy(durations []time.Duration) []time.Duration {
	return slices.Sorted(slices.Values(durations))
}

func percentiles(durations []time.Duration) string {
	if len(durations) == 0 {
		return "none"
	}
	sorted := sortedCopy(durations)
	at := func(share float64) time.Duration {
		return sorted[int(share*float64(len(sorted)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p95 %s, max %s of %d", at(0.5), at(0.95), at(1), len(sorted))
}
