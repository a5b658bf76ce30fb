package sender

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// lemmyBench is a bench on Lemmy's tables, with an instance that follows a community.
type lemmyBench struct {
	*bench
	world     *lemmy.World
	community lemmy.Actor
	conn      *pgx.Conn
	remote    int32
}

func newLemmyBench(t *testing.T, line lemmy.Line) *lemmyBench {
	t.Helper()
	database := postgres.Database(t, func(ctx context.Context, url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }() // the tables are what counts
		return lemmy.Create(ctx, conn, line)
	})
	conn, err := pgx.Connect(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	db, err := pgxpool.New(t.Context(), database)
	must(t, err)
	t.Cleanup(db.Close)
	l := &lemmyBench{conn: conn}
	l.world, err = lemmy.NewWorld(t.Context(), db, line)
	must(t, err)
	l.community, err = l.world.Community(t.Context(), "main", lemmy.PKCS8)
	must(t, err)
	l.migrate(t)
	l.bench = newBenchOn(t, database)
	l.remote, err = l.world.Instance(t.Context(), "remote.example")
	must(t, err)
	fan, err := l.world.Fan(t.Context(), l.remote, "remote.example", "fan")
	must(t, err)
	must(t, l.world.Follow(t.Context(), fan, l.community.ID, false))
	l.step()
	must(t, l.Acquired(t.Context(), []int32{l.remote}))
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l *lemmyBench) migrate(t *testing.T) {
	t.Helper()
	_, err := pg.Migrate(t.Context(), l.conn, pg.MigrateOptions{Source: "lemmy"})
	must(t, err)
}

// step has the head read once.
func (l *lemmyBench) step() {
	l.t.Helper()
	_, err := l.head.round(l.t.Context(), true)
	must(l.t, err)
}

func (l *lemmyBench) send(name string) (id int64) {
	l.t.Helper()
	id, err := l.world.Send(l.t.Context(), lemmy.Activity{Name: name, Actor: l.community, FollowersOf: l.community})
	must(l.t, err)
	return id
}

func TestLemmy_UpgradeUnderARunningSenderLosesNothing(t *testing.T) {
	l := newLemmyBench(t, lemmy.V019)
	sent := []int64{l.send("before")}
	l.beside(func() { l.head.run(t.Context()) })
	l.until("it is sent", func() bool { return slices.Equal(l.got(l.remote), sent) })
	l.saved() // nothing more starts where an answer is unsaved
	must(t, lemmy.Upgrade(t.Context(), l.conn))
	l.world.Line = lemmy.V10
	sent = append(sent, l.send("after"))
	l.within(12*driftPause, "it says that the tables are others", func() bool { return errors.Is(l.ready(), pg.ErrTablesChanged) })
	l.migrate(t)
	l.within(12*driftPause, "it is sent", func() bool { return slices.Equal(l.got(l.remote), sent) })
	l.within(12*driftPause, "it is ready but for the leases", func() bool { return !errors.Is(l.ready(), pg.ErrTablesChanged) })
}

func TestLemmy_ItsOwnSenderBesideThisOneStopsTheInstance(t *testing.T) {
	for _, line := range lemmy.Lines {
		t.Run(string(line), func(t *testing.T) {
			l := newLemmyBench(t, line)
			id := l.send("one")
			l.step()
			l.until("it is settled", func() (settled bool) {
				l.dispatcher.change([]int32{l.remote}, func(s *slot, _ time.Time) { settled = s.worker.Cursor() >= id })
				return settled
			})
			l.exec(`update public.federation_queue_state set last_successful_id = $1`, id)
			l.saved()
			var state, says string
			l.scan(&state, `select state from fedsender.instance_status where domain = 'remote.example'`)
			l.scan(&says, `select last_error from fedsender.instance_status where domain = 'remote.example'`)
			if state != "paused" {
				t.Errorf("it is %s: %s", state, says)
			}
		})
	}
}
