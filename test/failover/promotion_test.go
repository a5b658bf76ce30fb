package failover

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// pair is a primary with a standby, and the URL of both that leads to whoever takes writes.
type pair struct {
	primary, standby *postgres.Server
	senders, all     string // URLs of the database on both; of all without any word about which is wanted
}

func startPair(t *testing.T, settings map[string]string) *pair {
	t.Helper()
	p := &pair{primary: startServer(t, postgres.Options{Durable: true, Settings: settings})}
	_, err := p.primary.CreateDatabase(t.Context(), "app")
	must(t, err)
	p.standby, err = p.primary.Replica(t.Context())
	must(t, err)
	t.Cleanup(func() {
		if err := p.standby.Close(); err != nil {
			t.Error(err)
		}
	})
	p.senders = postgres.URLs("app", p.primary, p.standby)
	p.all = p.senders + "&target_session_attrs=read-write"
	return p
}

// promoteBehind ends the primary while the standby lacks what was written last, and promotes that.
func (p *pair) promoteBehind(ctx context.Context, r *rig, end func() error) {
	r.t.Helper()
	must(r.t, p.standby.WaitReplayed(ctx, p.primary))
	must(r.t, p.standby.Detach(ctx))
	r.progress(ctx, 1000) // of which the standby knows nothing
	must(r.t, end())
	must(r.t, p.standby.Promote(ctx))
	r.DB.Reset()
	must(r.t, r.WaitHeld(ctx, 3))
}

// entry is a line of a sender's log.
type entry struct {
	Count, IDs int
	Lost       int `json:"activities_lost"`
}

func (r *rig) saysEntry(ctx context.Context, words ...string) (e entry) {
	r.t.Helper()
	must(r.t, json.Unmarshal([]byte(r.says(ctx, words...)), &e))
	return e
}

func TestFailover_ToAStandbyThatLagsSendsAgainAndSkipsNothing(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	p := startPair(t, nil)
	r := newRig(t, p.all)
	r.start(ctx, 3, "DATABASE_URL="+p.senders)
	stop := r.load(ctx)
	r.progress(ctx, 500)
	p.promoteBehind(ctx, r, p.primary.Kill)

	if e := r.saysEntry(ctx, "the database has lost commits"); e.Lost == 0 {
		t.Error("activities were lost, and no sender says how many")
	}
	if e := r.saysEntry(ctx, "the cursors of instances went back"); e.Count == 0 || e.IDs == 0 {
		t.Error("cursors went back, and no sender says how far")
	}
	r.progress(ctx, 500)

	// The former primary comes back as a standby, and the next fail-over leads to it.
	must(t, p.primary.Follow(ctx, p.standby))
	must(t, p.primary.WaitReplayed(ctx, p.standby))
	r.progress(ctx, 500)
	must(t, p.standby.Stop(postgres.Fast))
	must(t, p.primary.Promote(ctx))
	r.DB.Reset()
	must(t, r.WaitHeld(ctx, 3))
	r.progress(ctx, 500)
	stop()
	r.finish(ctx)
	for _, s := range r.started {
		if strings.Contains(s.Log(), "moved by somebody else") || strings.Contains(s.Log(), "by an operator") {
			t.Errorf("%s takes the fail-over for what a person did:\n%s", s.Name, s.Log())
		}
	}
}

// The old primary answers and takes writes, as one does that nobody fenced: whoever comes back to it must not stay.
func TestFailover_WhoComesBackToAPrimaryThatWasReplacedFollowsTheOthers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	p := startPair(t, nil)
	r := newRig(t, p.all)
	r.start(ctx, 3, "DATABASE_URL="+p.senders)
	stop := r.load(ctx)
	r.progress(ctx, 500)
	must(t, p.standby.WaitReplayed(ctx, p.primary))
	must(t, p.primary.Stop(postgres.Fast))
	must(t, p.standby.Promote(ctx))
	r.DB.Reset()
	must(t, r.WaitHeld(ctx, 3))
	r.progress(ctx, 500)
	stop()
	r.finish(ctx)

	must(t, p.primary.Restart(ctx))
	held := reader(t, p.standby.URL("app"))
	stale := reader(t, p.primary.URL("app"))
	var before, after int64
	must(t, stale.QueryRow(ctx, `select sum(last_successful_id) from fedsender.queue_state`).Scan(&before))
	// Connections that are made anew find it first: the order of the hosts says so.
	for _, which := range []string{"fedsender", "fedsender listener%", "fedsender:%"} {
		_, err := held.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1`, which)
		must(t, err)
		r.followed(ctx, held, stale)
	}
	must(t, stale.QueryRow(ctx, `select sum(last_successful_id) from fedsender.queue_state`).Scan(&after))
	if before != after {
		t.Error("a primary that was replaced was written to")
	}
}

// followed waits until all three senders have gone to the first server and none is at the other.
func (r *rig) followed(ctx context.Context, held, stale *pgxpool.Pool) {
	r.t.Helper()
	must(r.t, fleet.Until(ctx, "all senders hold on one server and listen there", func() (bool, error) {
		var there, here, listening int
		const sessions = `select count(*) from pg_stat_activity where application_name like 'fedsender:%'`
		if err := stale.QueryRow(ctx, sessions).Scan(&there); err != nil {
			return false, err
		}
		if err := held.QueryRow(ctx, sessions).Scan(&here); err != nil {
			return false, err
		}
		err := held.QueryRow(ctx, `select count(*) from pg_stat_activity where application_name like 'fedsender listener%'`).Scan(&listening)
		return there == 0 && here == 3 && listening == 3, err
	}))
}

func TestFailover_AServerThatBecomesReadOnlyIsLeftAndWaitedFor(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	server := startServer(t, postgres.Options{})
	database, err := server.CreateDatabase(ctx, "app")
	must(t, err)
	r := newRig(t, database+"&default_transaction_read_only=off")
	r.start(ctx, 3, "DATABASE_URL="+database)
	stop := r.load(ctx)
	r.progress(ctx, 500)
	set := func(value string) {
		t.Helper()
		for _, sql := range []string{"alter system set default_transaction_read_only = " + value, "select pg_reload_conf()"} {
			_, err := r.DB.Exec(ctx, sql)
			must(t, err)
		}
	}
	set("on")
	r.says(ctx, "no lease session", "takes no writes")
	stop()
	must(t, fleet.Until(ctx, "nobody holds anything", func() (held bool, err error) {
		err = r.DB.QueryRow(ctx, `select not exists (select from pg_locks where locktype = 'advisory')`).Scan(&held)
		return held, err
	}))
	must(t, r.insert(ctx)) // as this connection may
	var unsent string
	must(t, r.DB.QueryRow(ctx, `select ap_id from fedsender.activity order by id desc limit 1`).Scan(&unsent))
	// One that starts meanwhile waits like the others.
	late, err := fleet.Start(fleet.Options{Binary: r.Binary, Name: "late", Database: database, ConnectTo: r.Fedi.Addr(), CAFile: r.Fedi.CAFile()})
	must(t, err)
	r.started = append(r.started, late)
	t.Cleanup(late.Kill)
	r.says(ctx, "waiting for the database", "takes writes")
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if d.Activity == unsent {
			t.Fatalf("%s was sent to %s without a lease", unsent, d.Domain)
		}
	}
	set("off")
	must(t, r.WaitHeld(ctx, 4))
	r.finish(ctx)
	must(t, late.Stop(ctx))
}

func TestStart_WaitsForAStandbyToBePromotedAndForAConnectionToBeFree(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	p := startPair(t, map[string]string{"max_connections": "20", "superuser_reserved_connections": "3"})
	must(t, fleet.Migrate(ctx, p.primary.URL("app")))
	c := func(name, database string) *fleet.Sender {
		s, err := fleet.Start(fleet.Options{Binary: senderBinary(t), Name: name, Database: database, ConnectTo: "127.0.0.1:1"})
		must(t, err)
		t.Cleanup(s.Kill)
		return s
	}
	must(t, p.standby.WaitReplayed(ctx, p.primary))
	waiting := c("waiting", p.standby.URL("app"))
	r := &rig{t: t, started: []*fleet.Sender{waiting}}
	r.says(ctx, "waiting for the database", "none of the hosts takes writes")

	pool := reader(t, p.primary.URL("app"))
	_, err := pool.Exec(ctx, `create role app login; grant pg_read_all_data, pg_write_all_data to app; grant usage on schema fedsender to app;
		grant execute on all functions in schema fedsender to app; alter role app connection limit 0`)
	must(t, err)
	limited := c("limited", strings.Replace(p.primary.URL("app"), "postgres@", "app@", 1))
	r.started = append(r.started, limited)
	r.says(ctx, "waiting for the database", "too many connections")
	_, err = pool.Exec(ctx, `alter role app connection limit -1`)
	must(t, err)
	must(t, limited.WaitReady(ctx))
	must(t, limited.Stop(ctx))

	must(t, p.primary.Stop(postgres.Immediate))
	must(t, p.standby.Promote(ctx))
	must(t, waiting.WaitReady(ctx))
	must(t, waiting.Stop(ctx))
}
