//go:build linux

// Package deadline shows what a process that has lost its leases still lets out: nothing, whether its machine was cut
// off, its process stood still, or its clock jumped.
package deadline

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
	"github.com/fedsender/fedsender/test/postgres"
)

const (
	instances = 20
	backlog   = 2000 // activities for each instance: more than are sent during a test
	// answerAfter keeps some deliveries of each instance in flight all the time.
	answerAfter = 30 * time.Millisecond
	// aRequest tells requests, which are longer, from handshakes under way, which are shorter and say nothing.
	aRequest = 3000
	// oldWords is how many requests may leave between two clocks' comparison and the write that follows at once: each
	// processor can stand at one such place when a process is frozen.
	oldWords = 2
)

func TestMain(m *testing.M) {
	if err := network.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(fleet.Main(postgres.Tests{M: m}))
}

// plain and moved are tags of the build.
const plain, moved = "", "testclock"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// rig is one sender with more to do than it can.
type rig struct {
	*fleet.Cluster
	t      *testing.T
	sender *fleet.Sender
	host   *network.Host
}

func newRig(t *testing.T, ctx context.Context, tag string, env ...string) *rig {
	t.Helper()
	path, err := fleet.Binary(ctx, tag)
	ok(t, err)
	host, err := network.NewHost()
	ok(t, err)
	t.Cleanup(func() { ok(t, host.Close()) })
	prefix := netip.MustParsePrefix(network.Database + "/15")
	server, err := postgres.Start(ctx, postgres.Options{Addresses: []netip.Prefix{prefix}})
	ok(t, err)
	t.Cleanup(func() { ok(t, server.Close()) })
	_, err = server.CreateDatabase(ctx, "deadline")
	ok(t, err)
	c, err := fleet.NewCluster(ctx, path, server.AddressURL(prefix.Addr(), "deadline"), fediverse.Config{
		Addr: network.Fediverse + ":0", Default: fediverse.Always(fediverse.Slow(answerAfter, fediverse.OK)),
		// Receivers that are slower than the sender would note when requests came late, and not when they were sent.
		VerifyEvery: 50,
	})
	ok(t, err)
	r := &rig{Cluster: c, t: t, host: host}
	t.Cleanup(r.close)
	_, err = fleet.Seed(ctx, c.DB, c.Fedi, fleet.Seeding{Actors: 1, Instances: instances})
	ok(t, err)
	c.Env = env
	senders, err := c.StartOn(ctx, r.host)
	ok(t, err)
	r.sender = senders[0]
	ok(t, c.WaitHeld(ctx, 1))
	r.insert(ctx)
	r.delivered(ctx, 200)
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 30*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if r.t.Failed() {
		r.t.Log(r.sender.Log())
	}
}

func (r *rig) insert(ctx context.Context) {
	r.t.Helper()
	_, err := r.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_all_instances)
		select id, json_build_object('id', id, 'type', 'Create', 'content', repeat('x', 3000)), a.actor, true
		from (select 'https://home.example/a/' || n as id from generate_series(1, $1) as n) as ids,
			(select min(id) as actor from fedsender.actor) as a`, backlog)
	ok(r.t, err)
}

// delivered waits until so many more have been.
func (r *rig) delivered(ctx context.Context, n int) {
	r.t.Helper()
	ledger := r.Fedi.Ledger()
	goal := ledger.Accepted("") + n
	ok(r.t, ledger.WaitFor(ctx, func() bool { return ledger.Accepted("") >= goal }))
}

// session is when the lease session began, by the database's clock, which is ours, and the pid of its backend.
func (r *rig) session(ctx context.Context) (since time.Time, pid int) {
	r.t.Helper()
	err := fleet.Until(ctx, "there is a lease session", func() (bool, error) {
		err := r.DB.QueryRow(ctx, `
			select coalesce(max(backend_start), 'epoch'), coalesce(max(pid), 0)
			from pg_stat_activity
			where application_name like 'fedsender:%'`).Scan(&since, &pid)
		return pid != 0, err
	})
	ok(r.t, err)
	return since, pid
}

// nextSession waits for another session than old, and for deliveries under it, and returns when it began.
func (r *rig) nextSession(ctx context.Context, old int) time.Time {
	r.t.Helper()
	var since time.Time
	ok(r.t, fleet.Until(ctx, "there is another lease session", func() (bool, error) {
		began, pid := r.session(ctx)
		since = began
		return pid != old, nil
	}))
	r.delivered(ctx, 100)
	return since
}

// heartbeat waits for one that begins after this.
func (r *rig) heartbeat(ctx context.Context, pid int) {
	r.t.Helper()
	var since time.Time
	ok(r.t, r.DB.QueryRow(ctx, `select clock_timestamp()`).Scan(&since))
	ok(r.t, fleet.Until(ctx, "there is a heartbeat", func() (done bool, err error) {
		err = r.DB.QueryRow(ctx, `
			select exists (
				select from pg_stat_activity
				where pid = $1 and query like '%from pg_stat_get_activity(%' and query_start > $2 and state = 'idle')`, pid, since).Scan(&done)
		return done, err
	}))
}

// arrivedBetween counts the requests whose header arrived then.
func (r *rig) arrivedBetween(from, to time.Time) (n int) {
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if d.Arrived.After(from) && d.Arrived.Before(to) {
			n++
		}
	}
	return n
}

// wait lets time pass that is the fault itself.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
