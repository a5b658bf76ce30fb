package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fleet"
)

// life is what happens to an object, in order. Each of these conflicts with the others.
var life = []string{"Create", "Update", "Update", "Delete"}

// writer commits the lives of one object after another, in every way that an application may, as one of many. It
// belongs to one goroutine.
type writer struct {
	number int
	db     *pgxpool.Pool
	world  *fleet.World
	reach  [][]string // inboxes of the followers, by actor
	random *rand.Rand
	ways   []way
	audience

	chain   chain
	objects int
	serial  int // tells tries of the same activity apart
	due     int // deliveries of what was committed
}

// audience says whom else than followers the activities are for.
type audience struct {
	all     bool // one life in sixty of the first writer goes to every instance
	unknown int  // so many domains that have no row yet
}

// chain is what the activities of one object have in common.
type chain struct {
	object      string
	next        int // index in life
	actor       int
	inboxes     []string
	followersOf []int64
	all         bool
	reach       int // inboxes in all
}

// way is one transaction, picked by weight. It returns how many activities it has committed.
type way struct {
	weight int
	write  func(*writer, context.Context) (int, error)
}

var (
	// tameWays are for tests in which something else is wild.
	tameWays = []way{{9, (*writer).plain}, {1, (*writer).rollback}}
	wildWays = []way{
		{40, (*writer).plain}, {8, (*writer).late}, {10, (*writer).rollback}, {10, (*writer).savepoint}, {10, (*writer).copy},
		{10, (*writer).prepared}, {4, (*writer).killed}, {3, (*writer).killedInCopy}, {5, (*writer).procedure},
	}
)

func newWriter(number int, r *rig, seed uint64, ways []way) *writer {
	w := &writer{number: number, db: r.writing, world: r.world, reach: r.reach, random: rand.New(rand.NewPCG(seed, uint64(number))), ways: ways}
	w.begin()
	return w
}

// begin starts the life of another object.
func (w *writer) begin() {
	w.objects++
	actor := w.random.IntN(len(w.world.Actors))
	w.chain = chain{object: fmt.Sprintf("%d-%d", w.number, w.objects), actor: actor, inboxes: []string{}, followersOf: []int64{w.world.Actors[actor]}}
	switch chance := w.random.IntN(20); {
	case w.all && w.number == 0 && w.objects%60 == 5:
		w.chain.all = true
	case chance < 3: // a conversation among a few, one of whom has no shared inbox
		w.chain.followersOf = []int64{}
		for range 1 + w.random.IntN(2) {
			w.chain.inboxes = append(w.chain.inboxes, fleet.SharedInbox(w.someDomain()))
		}
		w.chain.inboxes = append(w.chain.inboxes, "https://"+w.someDomain()+"/u/bob/inbox")
	case chance < 4: // somebody is mentioned
		w.chain.inboxes = append(w.chain.inboxes, fleet.SharedInbox(w.someDomain()))
	case chance < 5 && w.unknown > 0:
		w.chain.inboxes = append(w.chain.inboxes, fmt.Sprintf("https://new-%d.example/inbox", w.random.IntN(w.unknown)))
	}
	reached := map[string]bool{}
	for _, inbox := range w.chain.inboxes {
		reached[inbox] = true
	}
	if len(w.chain.followersOf) > 0 {
		for _, inbox := range w.reach[actor] {
			reached[inbox] = true
		}
	}
	w.chain.reach = len(reached)
}

func (w *writer) someDomain() string { return w.world.Instances[w.random.IntN(len(w.world.Instances))] }

// write makes one transaction.
func (w *writer) write(ctx context.Context) (committed int, err error) {
	total := 0
	for _, way := range w.ways {
		total += way.weight
	}
	chance := w.random.IntN(total)
	for _, way := range w.ways {
		if chance -= way.weight; chance < 0 {
			committed, err = way.write(w, ctx)
			break
		}
	}
	w.due += committed * w.chain.reach
	if w.chain.next += committed; w.chain.next >= len(life) {
		w.begin()
	}
	return committed, err
}

// row is one activity to insert.
type row struct {
	id, document string
	actor        int64
	inboxes      []string
	followersOf  []int64
	all          bool
}

// rows are the next n activities of the object, or as many as there are. Each call makes other ids: what is rolled back
// must be told apart from what is committed in its place.
func (w *writer) rows(n int) []row {
	var rows []row
	for rank := w.chain.next; rank < min(len(life), w.chain.next+n); rank++ {
		w.serial++
		id := fmt.Sprintf("https://%s/activities/%s-%d-%d", fleet.Home, w.chain.object, rank, w.serial)
		object := fmt.Sprintf("https://%s/objects/%s", fleet.Home, w.chain.object)
		document := fmt.Sprintf(`{"id":%q,"type":%q,"actor":%q,"object":{"id":%q,"type":"Note"}}`,
			id, life[rank], fleet.ActorID(w.chain.actor), object)
		rows = append(rows, row{id, document, w.world.Actors[w.chain.actor], w.chain.inboxes, w.chain.followersOf, w.chain.all})
	}
	return rows
}

// order reads the object and the rank out of an activity's id.
func order(activity string) (group string, rank int64) {
	var writer, object, serial int
	if _, err := fmt.Sscanf(path.Base(activity), "%d-%d-%d-%d", &writer, &object, &rank, &serial); err != nil {
		return "", 0
	}
	return fmt.Sprintf("%d-%d", writer, object), rank
}

// errBack makes a transaction roll back on purpose.
var errBack = errors.New("rolled back on purpose")

func (w *writer) plain(ctx context.Context) (int, error) {
	return w.commit(ctx, w.upTo(20*time.Millisecond))
}

func (w *writer) late(ctx context.Context) (int, error) { return w.commit(ctx, w.upTo(2*time.Second)) }

func (w *writer) commit(ctx context.Context, after time.Duration) (int, error) {
	rows := w.rows(1 + w.random.IntN(3))
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		if err := insert(ctx, tx, rows); err != nil {
			return err
		}
		wait(ctx, after)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(rows), nil
}

func (w *writer) rollback(ctx context.Context) (int, error) {
	after := w.upTo(50 * time.Millisecond)
	if w.random.IntN(8) == 0 {
		after = w.upTo(time.Second)
	}
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		if err := insert(ctx, tx, w.rows(3)); err != nil {
			return err
		}
		wait(ctx, after)
		return errBack
	})
	return 0, butOnPurpose(err)
}

// savepoint leaves holes in the middle of a transaction that commits.
func (w *writer) savepoint(ctx context.Context) (int, error) {
	rows, undone := w.rows(2), w.rows(3)
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		for i := range rows {
			if err := insert(ctx, tx, rows[i:i+1]); err != nil {
				return err
			}
			err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
				if err := insert(ctx, inner, undone[i:]); err != nil {
					return err
				}
				return errBack
			})
			if butOnPurpose(err) != nil {
				return err
			}
			wait(ctx, w.upTo(30*time.Millisecond))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(rows), nil
}

// copy draws ids before the transaction has an id of its own.
func (w *writer) copy(ctx context.Context) (int, error) {
	rows := w.rows(len(life))
	_, err := copyRows(ctx, w.db, rows, func(int) { wait(ctx, 3*time.Millisecond) })
	if err != nil {
		return 0, err
	}
	return len(rows), nil
}

// prepared commits in two phases, and not always.
func (w *writer) prepared(ctx context.Context) (int, error) {
	rows := w.rows(2)
	name := fmt.Sprintf("'w%d-%d'", w.number, w.serial)
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		if err := insert(ctx, tx, rows); err != nil {
			return err
		}
		wait(ctx, w.upTo(20*time.Millisecond))
		_, err := tx.Exec(ctx, `prepare transaction `+name)
		return err
	})
	// The driver's commit that follows finds no transaction and says so.
	if err != nil && !errors.Is(err, pgx.ErrTxCommitRollback) {
		return 0, err
	}
	wait(ctx, w.upTo(400*time.Millisecond))
	if w.random.IntN(4) == 0 {
		_, err := w.db.Exec(ctx, `rollback prepared `+name)
		return 0, err
	}
	if _, err := w.db.Exec(ctx, `commit prepared `+name); err != nil {
		return 0, err
	}
	return len(rows), nil
}

// killed loses its session in the middle of the transaction.
func (w *writer) killed(ctx context.Context) (int, error) {
	conn, err := w.db.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `begin`); err != nil {
		return 0, err
	}
	if err := insert(ctx, conn, w.rows(2)); err != nil {
		return 0, err
	}
	wait(ctx, w.upTo(100*time.Millisecond))
	if err := w.kill(ctx, conn); err != nil {
		return 0, err
	}
	if _, err := conn.Exec(ctx, `commit`); err == nil {
		return 0, errors.New("a session that was killed could commit")
	}
	return 0, nil
}

func (w *writer) killedInCopy(ctx context.Context) (int, error) {
	conn, err := w.db.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	var killing error
	_, err = copyRows(ctx, conn, w.rows(len(life)), func(n int) {
		if n == 0 {
			wait(ctx, 10*time.Millisecond)
			killing = w.kill(ctx, conn)
		}
	})
	if err == nil {
		return 0, errors.New("a session that was killed could copy")
	}
	return 0, killing
}

// kill returns when the session is no more.
func (w *writer) kill(ctx context.Context, conn *pgxpool.Conn) error {
	var ended bool
	err := w.db.QueryRow(ctx, `select pg_terminate_backend($1, 60000)`, int32(conn.Conn().PgConn().PID())).Scan(&ended)
	if err == nil && !ended {
		err = errors.New("a session lives on after pg_terminate_backend")
	}
	return err
}

// procedure commits twice within one statement.
func (w *writer) procedure(ctx context.Context) (int, error) {
	rows := w.rows(2)
	code := ""
	for i := range rows {
		code += fmt.Sprintf("insert into fedsender.activity (ap_id, data, actor_id, send_inboxes, send_followers_of, send_all_instances) "+
			"values ('%s', '%s', %d, %s, %s, %t); perform pg_sleep(0.02); commit;",
			rows[i].id, rows[i].document, rows[i].actor, literal("text", rows[i].inboxes), literal("bigint", rows[i].followersOf), rows[i].all)
	}
	if _, err := w.db.Exec(ctx, `do $do$ begin `+code+` end $do$`, pgx.QueryExecModeSimpleProtocol); err != nil {
		return 0, err
	}
	return len(rows), nil
}

// literal is an array in SQL; no element needs escaping.
func literal[T any](kind string, list []T) string {
	text := ""
	for i, element := range list {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf("'%v'", element)
	}
	return "array[" + text + "]::" + kind + "[]"
}

func (w *writer) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }

func butOnPurpose(err error) error {
	if errors.Is(err, errBack) {
		return nil
	}
	return err
}

func insert(ctx context.Context, q interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, rows []row) error {
	for _, r := range rows {
		_, err := q.Exec(ctx, `
			insert into fedsender.activity (ap_id, data, actor_id, send_inboxes, send_followers_of, send_all_instances)
			values ($1, $2, $3, $4, $5, $6)`, r.id, r.document, r.actor, r.inboxes, r.followersOf, r.all)
		if err != nil {
			return err
		}
	}
	return nil
}

func copyRows(ctx context.Context, to interface {
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error)
}, rows []row, before func(n int)) (int64, error) {
	return to.CopyFrom(ctx, pgx.Identifier{"fedsender", "activity"},
		[]string{"ap_id", "data", "actor_id", "send_inboxes", "send_followers_of", "send_all_instances"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			before(i)
			r := rows[i]
			return []any{r.id, r.document, r.actor, r.inboxes, r.followersOf, r.all}, nil
		}))
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
