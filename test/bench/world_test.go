package bench

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

// world is an application: its tables and what is in them, and how it writes one more activity.
type world interface {
	// tables makes what an application with tables of its own has before schema fedsender comes, in an empty database.
	tables(ctx context.Context, database string) error
	// fill makes what the native tables have, and tells the fediverse the keys.
	fill(ctx context.Context, c *fleet.Cluster) error
	// ringer is the table of the activities and the trigger on it that rings the bell.
	ringer() (table, trigger string)
	// insertion is the statement that inserts an activity for these inboxes; without any it is for nobody.
	insertion(id string, inboxes ...string) (statement string, args []any)
	// domains are those of the instances.
	domains() []string
}

// native is an application that uses the native tables.
type native struct {
	seeding fleet.Seeding
	seeded  *fleet.World
}

func (n *native) tables(context.Context, string) error { return nil }

func (n *native) fill(ctx context.Context, c *fleet.Cluster) (err error) {
	n.seeded, err = fleet.Seed(ctx, c.DB, c.Fedi, n.seeding)
	return err
}

func (n *native) ringer() (table, trigger string) { return "fedsender.activity", "ring" }

func (n *native) insertion(id string, inboxes ...string) (statement string, args []any) {
	if inboxes == nil {
		inboxes = []string{} // not null
	}
	return `
		insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
		values ($1, json_build_object('id', $1::text, 'type', 'Create'), $2, $3)`, []any{"https://" + fleet.Home + "/activities/" + id, n.seeded.Actors[0], inboxes}
}

func (n *native) domains() []string { return n.seeded.Instances }

// lemmys is Lemmy.
type lemmys struct {
	line  lemmy.Line
	size  lemmy.Size
	extra func(ctx context.Context, w *lemmy.World) error // what else is there; nil: nothing

	home *lemmy.World
	took time.Duration // to fill the tables
}

func (l *lemmys) tables(ctx context.Context, database string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // the tables are what counts
	if err := lemmy.Create(ctx, conn, l.line); err != nil {
		return err
	}
	db, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer db.Close()
	if l.home, err = lemmy.NewWorld(ctx, db, l.line); err != nil {
		return err
	}
	began := time.Now()
	if err := l.home.Fill(ctx, l.size); err != nil {
		return err
	}
	if l.took = time.Since(began); l.extra == nil {
		return nil
	}
	return l.extra(ctx, l.home)
}

func (l *lemmys) fill(_ context.Context, c *fleet.Cluster) error {
	l.home.DB = c.DB
	l.home.Introduce(c.Fedi)
	return nil
}

func (l *lemmys) ringer() (table, trigger string) { return "public.sent_activity", "fedsender_ring" }

func (l *lemmys) insertion(id string, inboxes ...string) (statement string, args []any) {
	return lemmy.Activity{Name: id, Actor: l.home.Site, Inboxes: inboxes}.Insertion()
}

func (l *lemmys) domains() (all []string) {
	for n := range l.size.Instances {
		all = append(all, lemmy.FilledDomain(n+1))
	}
	return all
}

// big is a large server of Lemmy's; without FEDSENDER_BENCH=long a tenth of one.
func big() lemmy.Size {
	if long() {
		return lemmy.Big
	}
	return lemmy.Size{Instances: lemmy.Big.Instances / 10, Communities: lemmy.Big.Communities / 10,
		Followers: lemmy.Big.Followers / 10, Activities: lemmy.Big.Activities / 10}
}

// onEach measures in the native tables, and in a large server's of each line of Lemmy.
func onEach(b *testing.B, seeding fleet.Seeding, measure func(b *testing.B, w world)) {
	b.Run("native", func(b *testing.B) { measure(b, &native{seeding: seeding}) })
	for _, line := range lemmy.Lines {
		b.Run("lemmy-"+string(line), func(b *testing.B) { measure(b, &lemmys{line: line, size: big()}) })
	}
}

// onEachSmall is onEach for tests that it can be measured.
func onEachSmall(t *testing.T, test func(t *testing.T, w world)) {
	t.Run("native", func(t *testing.T) {
		t.Parallel()
		test(t, &native{seeding: fleet.Seeding{Actors: 1, Instances: 20}})
	})
	for _, line := range lemmy.Lines {
		t.Run("lemmy-"+string(line), func(t *testing.T) {
			t.Parallel()
			test(t, &lemmys{line: line, size: lemmy.Size{Instances: 20, Communities: 5, Followers: 50, Activities: 200}})
		})
	}
}
