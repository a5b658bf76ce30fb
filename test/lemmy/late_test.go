package lemmy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc/pool"
	"golang.org/x/time/rate"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

// whole says whether tests that have a long form take it: that of make chaos.
var whole = os.Getenv("FEDSENDER_CHAOS") == "long"

// lateness is a test of writers who commit out of order.
type lateness struct {
	*scene
	rows   int // of all writers together
	pace   *rate.Limiter
	passed atomic.Int64 // by the simple rule

	mu   sync.Mutex
	want fediverse.Expected
}

// writers is how many write at one time.
const writers = 16

func TestLemmy_Better_SixteenWritersWhoCommitOutOfOrderLoseNothing(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		l := &lateness{scene: newScene(t, line), rows: 4_000, pace: rate.NewLimiter(rate.Inf, 0), want: fediverse.Expected{}}
		if whole {
			l.rows, l.pace = 100_000, rate.NewLimiter(1_500, writers)
			ok(t, l.Fill(l.ctx, lemmy.Big))
		}
		a := l.remote("a.example")
		l.start(2)
		reading, done := context.WithCancel(l.ctx)
		simple := pool.New().WithErrors()
		var lost []string
		begins := l.newest()
		simple.Go(func() (err error) {
			lost, err = l.simpleRule(reading, begins)
			return err
		})
		began := time.Now()
		l.write()
		took := time.Since(began)
		l.untilWithin(10*patience, "everything is settled", `
			select last_successful_id = (select max(id) from sent_activity)
			from federation_queue_state
			where instance_id = $1`, a)
		done()
		ok(t, simple.Wait())
		l.halt()
		byWaiting := 0
		for _, id := range lost {
			if strings.HasPrefix(id, lemmy.ActivityID("waits-")) {
				byWaiting++
			}
		}
		v := l.fedi.Ledger().Verdict(l.want, nil)
		t.Logf("%d rows by %d writers at %.0f/s: the simple rule loses %d, of them %d of the one who waits now and then; %s",
			l.rows, writers, float64(l.rows)/took.Seconds(), len(lost), byWaiting, v)
		if v.Lost+v.Twice > 0 || v.Delivered != l.rows {
			t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
		}
		if len(lost) == 0 {
			t.Error("the simple rule lost nothing: the writers did not commit out of order, and the test shows nothing")
		}
	})
}

// write has all writers commit their rows, each in a transaction of its own that draws its id well before it commits, as
// Lemmy's do. The first one now and then does not commit before the simple rule has passed its id, however the others fare.
func (l *lateness) write() {
	l.t.Helper()
	var finished atomic.Int64
	group := pool.New().WithErrors()
	for n := range writers {
		group.Go(func() error {
			for i := range l.rows / writers {
				if err := l.pace.Wait(l.ctx); err != nil {
					return err
				}
				waits := n == 0 && i%50 == 7
				name := fmt.Sprintf("late-%d-%d", n, i)
				if waits {
					name = fmt.Sprintf("waits-%d", i)
				}
				id, commit, err := l.SendLate(l.ctx, lemmy.Activity{Name: name, Actor: l.community, FollowersOf: l.community})
				if err != nil {
					return err
				}
				if waits {
					err := fleet.Until(l.ctx, "others have committed later ids", func() (bool, error) {
						return l.passed.Load() >= id || finished.Load() == writers-1, nil
					})
					if err != nil {
						return err
					}
				}
				l.mu.Lock() // others draw ids meanwhile
				l.want.Add(lemmy.SharedInbox("a.example"), lemmy.ActivityID(name))
				l.mu.Unlock()
				if err := commit(); err != nil {
					return err
				}
			}
			finished.Add(1)
			return nil
		})
	}
	ok(l.t, group.Wait())
}

// simpleRule reads as Lemmy does, the highest id and then every id once, from a cursor on until ctx ends. It returns what it
// has missed of all that it has passed.
func (l *lateness) simpleRule(ctx context.Context, cursor int64) (missed []string, err error) {
	work := context.WithoutCancel(ctx)
	begins, seen := cursor, map[int64]bool{}
	for ctx.Err() == nil {
		var newest int64
		if err := l.DB.QueryRow(work, `select coalesce(max(id), 0) from sent_activity`).Scan(&newest); err != nil {
			return nil, err
		}
		for ; cursor < newest; cursor++ {
			var there bool
			if err := l.DB.QueryRow(work, `select exists (select from sent_activity where id = $1)`, cursor+1).Scan(&there); err != nil {
				return nil, err
			}
			seen[cursor+1] = there
			l.passed.Store(cursor + 1)
		}
	}
	rows, err := l.DB.Query(work, `select id, ap_id from sent_activity where id > $1 and id <= $2`, begins, cursor)
	if err != nil {
		return nil, err
	}
	var id int64
	var apID string
	_, err = pgx.ForEachRow(rows, []any{&id, &apID}, func() error {
		if !seen[id] {
			missed = append(missed, apID)
		}
		return nil
	})
	return missed, err
}
