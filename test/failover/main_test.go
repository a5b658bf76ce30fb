// Package failover tests real senders with databases that fail over and with poolers in between.
package failover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

// patience is how long a test waits for what should take seconds; only a broken one waits so long.
const patience = 2 * time.Minute

// objects are what activities change: those of one object conflict.
const objects = 8

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func senderBinary(t *testing.T) string {
	t.Helper()
	binary, err := fleet.Binary(t.Context(), "")
	must(t, err)
	return binary
}

func startServer(t *testing.T, options postgres.Options) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), options)
	must(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// rig is a cluster whose senders connect as they are told, with an application that writes.
type rig struct {
	*fleet.Cluster
	t       *testing.T
	world   *fleet.World
	started []*fleet.Sender
	rank    int
}

// newRig migrates the database and fills it; no sender runs yet. DB leads to wherever writes are taken.
func newRig(t *testing.T, database string) *rig {
	t.Helper()
	c, err := fleet.NewCluster(t.Context(), senderBinary(t), database, fediverse.Config{})
	must(t, err)
	r := &rig{Cluster: c, t: t}
	t.Cleanup(r.close)
	r.world, err = fleet.Seed(t.Context(), c.DB, c.Fedi, fleet.Seeding{Actors: 1, Instances: 20})
	must(t, err)
	return r
}

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), patience)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if !r.t.Failed() {
		return
	}
	for _, s := range r.started {
		lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
		r.t.Logf("%s said last:\n%s", s.Name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// start starts senders with more of the environment and waits until they hold everything.
func (r *rig) start(ctx context.Context, n int, env ...string) {
	r.t.Helper()
	r.Env = env
	fresh, err := r.Start(ctx, n)
	r.started = append(r.started, fresh...)
	must(r.t, err)
	must(r.t, r.WaitHeld(ctx, len(r.started)))
}

// insert adds one activity, which the followers on every instance get.
func (r *rig) insert(ctx context.Context) error {
	r.rank++
	id := fmt.Sprintf("%s/activities/%d/%d", fleet.ActorID(0), r.rank%objects, r.rank)
	_, err := r.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		values ($1, json_build_object('id', $1::text, 'type', 'Update', 'object', json_build_object('id', $2::text)), $3, array[$3::bigint])`,
		id, fmt.Sprintf("%s/objects/%d", fleet.ActorID(0), r.rank%objects), r.world.Actors[0])
	return err
}

// order reads the object and the rank out of an activity's id.
func order(activity string) (group string, rank int64) {
	parts := strings.Split(activity, "/")
	rank, _ = strconv.ParseInt(parts[len(parts)-1], 10, 64)
	return parts[len(parts)-2], rank
}

// load inserts about fifty activities a second until it is stopped. What fails is not tried again: nobody can know
// whether it was committed.
func (r *rig) load(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			bounded, cancel := context.WithTimeout(ctx, time.Second)
			_ = r.insert(bounded)
			cancel()
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	r.t.Cleanup(stop)
	return stop
}

// progress waits until n more deliveries were accepted.
func (r *rig) progress(ctx context.Context, n int) {
	r.t.Helper()
	wanted := r.Fedi.Ledger().Accepted("") + n
	must(r.t, fleet.Until(ctx, fmt.Sprintf("%d deliveries go on", n), func() (bool, error) {
		return r.Fedi.Ledger().Accepted("") >= wanted, nil
	}))
}

// finish waits until all that the database has is delivered and every cursor has reached the end, and judges.
func (r *rig) finish(ctx context.Context) fediverse.Verdict {
	r.t.Helper()
	rows, err := r.DB.Query(ctx, `select ap_id from fedsender.activity`)
	must(r.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(r.t, err)
	expected := fediverse.Expected{}
	for _, domain := range r.world.Instances {
		expected.Add(fleet.SharedInbox(domain), ids...)
	}
	ledger := r.Fedi.Ledger()
	must(r.t, fleet.Until(ctx, "everything is delivered", func() (bool, error) {
		return ledger.Verdict(expected, order).Lost == 0, nil
	}))
	must(r.t, r.WaitSettled(ctx))
	verdict := ledger.Verdict(expected, order)
	r.t.Logf("%d activities: %s", len(ids), verdict)
	if verdict.Lost+verdict.OutOfOrder+verdict.Violations > 0 {
		r.t.Errorf("verdict: %s\n%s", verdict, strings.Join(verdict.Examples, "\n"))
	}
	return verdict
}

// says waits until some sender has logged all the words in one line, and returns it.
func (r *rig) says(ctx context.Context, words ...string) (line string) {
	r.t.Helper()
	must(r.t, fleet.Until(ctx, "a sender says "+strings.Join(words, ", "), func() (bool, error) {
		for _, s := range r.started {
			for line = range strings.Lines(s.Log()) {
				if all(line, words) {
					return true, nil
				}
			}
		}
		return false, nil
	}))
	return line
}

func all(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

// command runs one verb and returns its exit code and what it printed.
func command(t *testing.T, env []string, arguments ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(within(t), senderBinary(t), arguments...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "SENDER_") && !strings.HasPrefix(entry, "DATABASE_URL") && !strings.HasPrefix(entry, "PG") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

// reader makes a pool that is no sender's.
func reader(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}
