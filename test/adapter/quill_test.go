package adapter

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

func TestQuill_DeliversWhatIsWrittenSignedAndInOrder(t *testing.T) {
	s := newScene(t)
	s.write(letter{}) // before there was a sender
	s.start(2)
	var ids []string
	for n := range 20 {
		text := fmt.Sprintf("https://quill.example/texts/%d", n)
		ids = append(ids, s.write(letter{kind: "Create", about: text}), s.write(letter{kind: "Update", about: text}),
			s.write(letter{kind: "Delete", about: text}))
	}
	for _, host := range []string{toad, birch} {
		s.arrived(host, ids...)
		arrived := s.accepted(host)
		for n := 0; n < len(ids); n += 3 {
			if !slices.IsSorted([]int{slices.Index(arrived, ids[n]), slices.Index(arrived, ids[n+1]), slices.Index(arrived, ids[n+2])}) {
				t.Errorf("%s took the three of text %d out of order: %q", host, n/3, arrived)
			}
		}
		s.settled(host)
	}
}

func TestQuill_FollowsWhoSubscribesLeavesAndIsShunned(t *testing.T) {
	s := newScene(t)
	s.start(1)
	first := s.write(letter{})
	s.arrived(toad, first)
	s.until("the horizon has passed it", `select horizon = (select max(letter_no) from quill.letter) from fedsender.feed`)
	s.subscribe("new.example")
	second := s.write(letter{})
	s.arrived("new.example", second)
	s.exec(`delete from quill.subscriber where url like 'https://toad.example/%'`)
	third := s.write(letter{})
	s.arrived("new.example", second, third)
	s.settled(toad)
	s.arrived(toad, first, second)

	s.exec(`insert into quill.shunned (host) values ('BIRCH.example')`)
	fourth := s.write(letter{})
	s.arrived("new.example", second, third, fourth)
	cursor := query[int64](s, `select last_successful_id from fedsender.queue_state join quill.peer on peer_no = instance_id where host = $1`, birch)
	if newest := query[int64](s, `select max(letter_no) from quill.letter`); cursor >= newest {
		t.Errorf("the cursor of who is shunned is at %d of %d", cursor, newest)
	}
	s.exec(`delete from quill.shunned`)
	s.arrived(birch, first, second, third, fourth)
}

func TestQuill_SendsToEveryoneAndToInboxesOfStrangers(t *testing.T) {
	s := newScene(t)
	s.start(1)
	first := s.write(letter{to: "everyone"})
	second := s.write(letter{to: "nobody", also: "https://stranger.example/@eve/inbox"})
	s.arrived(toad, first)
	s.arrived(birch, first)
	s.arrived("stranger.example", second)
	s.settled("stranger.example")
}

func TestQuill_IsPausedAndResumedAndRepeated(t *testing.T) {
	s := newScene(t)
	s.start(1)
	first := s.write(letter{})
	s.arrived(toad, first)
	s.settled(toad)
	s.must("pause", toad)
	second := s.write(letter{})
	s.arrived(birch, first, second)
	if text := s.must("status", toad); !strings.Contains(text, "paused") {
		t.Errorf("status says:\n%s", text)
	}
	s.arrived(toad, first)
	s.must("resume", toad)
	s.arrived(toad, first, second)
	s.settled(toad)
	s.must("replay", toad, "--since", "1h")
	s.arrived(toad, first, second, first, second)
	if text := s.must("trace", second); !strings.Contains(text, toad) {
		t.Errorf("trace says:\n%s", text)
	}
}

func TestQuill_SkipsABacklog(t *testing.T) {
	s := newScene(t)
	s.fedi.Instance(toad).SetAnswer(fediverse.Status(503))
	s.start(1)
	first := s.write(letter{})
	s.arrived(birch, first)
	s.until("it fails", `select state = 'failing' from fedsender.instance_status where domain = $1`, toad)
	s.must("skip", toad, "--to", "latest")
	s.fedi.Instance(toad).SetAnswer(fediverse.OK)
	s.must("retry", toad)
	second := s.write(letter{})
	s.arrived(toad, second)
}

func TestQuill_PutsAsideWhatCannotBeSignedAndTriesItAgain(t *testing.T) {
	s := newScene(t)
	s.start(1)
	s.exec(`update quill.author set secret_key = null`)
	lost := s.write(letter{})
	s.until("it is a dead letter", `select count(*) > 0 from fedsender.dead_letter`)
	s.settled(toad)
	if text := s.must("dead-letters", "list"); !strings.Contains(text, "key") {
		t.Errorf("dead-letters list says:\n%s", text)
	}
	s.exec(`update quill.author set secret_key = $1`, s.pem)
	sound := s.write(letter{})
	s.arrived(toad, sound)
	s.must("dead-letters", "retry", fmt.Sprint(query[int64](s, `select min(id) from fedsender.dead_letter`)))
	s.arrived(toad, sound, lost)
	s.arrived(birch, sound, lost)
}

func TestQuill_IsWatchedLikeAnyOther(t *testing.T) {
	s := newScene(t)
	s.start(1)
	first := s.write(letter{})
	s.arrived(toad, first)
	s.settled(toad)
	if text, code := s.command("doctor"); code != 0 {
		t.Errorf("doctor ends with %d:\n%s", code, text)
	}
	if text := s.must("status"); !strings.Contains(text, "2") {
		t.Errorf("status says:\n%s", text)
	}
	if n := query[int](s, `select count(*) from fedsender.instance_status where state = 'ok'`); n != 2 {
		t.Errorf("%d instances are ok, want 2", n)
	}
	s.until("it was heard", `select heard_at is not null from quill.peer where host = $1`, toad)
	for range 2 {
		if text := s.must("migrate", "--source", folder); !strings.Contains(text, "up to date") {
			t.Errorf("migrate says: %s", text)
		}
	}
	var lowest, deleted int64
	ok(t, s.db.QueryRow(s.ctx, `select lowest, deleted from fedsender.prune('1 day')`).Scan(&lowest, &deleted))
	if lowest == 0 || deleted != 0 {
		t.Errorf("prune says %d and %d", lowest, deleted)
	}
}

func TestQuill_LosesNothingOfWritersWhoCommitLateOrRollBack(t *testing.T) {
	s := newScene(t)
	s.start(2)
	w := &writers{scene: s, want: fediverse.Expected{}}
	all := pool.New().WithErrors()
	for n := range manyWriters {
		all.Go(func() error { return w.run(n) })
	}
	ok(t, all.Wait())
	s.settled(toad)
	s.settled(birch)
	s.halt()
	if v := s.fedi.Ledger().Verdict(w.want, nil); v.Lost+v.Twice+v.Unexpected > 0 || v.Delivered == 0 {
		t.Errorf("%s\n%s", v, strings.Join(v.Examples, "\n"))
	}
}

const manyWriters = 8

// writers write at one time, so that numbers are drawn in one order and committed in another.
type writers struct {
	*scene
	mu       sync.Mutex
	want     fediverse.Expected
	finished atomic.Int64
}

// run writes 40 letters, one in a transaction, and rolls some of them back.
func (w *writers) run(writer int) error {
	for n := range 40 {
		tx, err := w.db.Begin(w.ctx)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("https://quill.example/late/%d-%d", writer, n)
		var drawn int64
		err = tx.QueryRow(w.ctx, `
			insert into quill.letter (url, author_no, document, to_subscribers)
			select $1, author_no, json_build_object('id', $1::text, 'type', 'Create', 'actor', url), true from quill.author
			returning letter_no`, id).Scan(&drawn)
		if err != nil {
			return err
		}
		if writer == 0 && n%10 == 5 { // one of them is slow
			if err := w.passed(drawn); err != nil {
				return err
			}
		}
		end := tx.Commit
		if n%7 == 3 {
			end = tx.Rollback
		} else {
			w.expect(id)
		}
		if err := end(w.ctx); err != nil {
			return err
		}
	}
	w.finished.Add(1)
	return nil
}

// passed waits until others have committed higher numbers.
func (w *writers) passed(number int64) error {
	return fleet.Until(w.ctx, "others have committed higher numbers", func() (passed bool, err error) {
		err = w.db.QueryRow(w.ctx, `select count(*) > 0 from quill.letter where letter_no > $1`, number).Scan(&passed)
		return passed || w.finished.Load() == manyWriters-1, err
	})
}

func (w *writers) expect(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range []string{toad, birch} {
		w.want.Add(fmt.Sprintf(sharedAt, host), id)
	}
}

func TestQuill_IsReadByItsPrimaryKey(t *testing.T) {
	s := newScene(t)
	s.must("migrate", "--source", folder)
	s.exec(`
		insert into quill.letter (url, author_no, document, to_subscribers)
		select n::text, 1, '{}', true from generate_series(1, 20000) n`)
	s.exec(`analyze quill.letter`)
	for _, text := range []string{
		`select id, send_inboxes, xid from fedsender.source_activity where id > 100 order by id limit 1000`,
		`select * from fedsender.source_activity where id = any ('{5,6}')`,
	} {
		rows, err := s.db.Query(s.ctx, `explain `+text)
		ok(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		ok(t, err)
		if all := strings.Join(plan, "\n"); !strings.Contains(all, "letter_pkey") {
			t.Errorf("%s:\n%s", text, all)
		}
	}
}

// everything is all that there is in the database.
const everything = `
	select coalesce(array_agg(x order by x), '{}') from (
	  select n.nspname || '.' || c.relname || coalesce('.' || a.attname, '') as x
	  from pg_class c
	  join pg_namespace n on n.oid = c.relnamespace
	  left join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
	  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	  union all
	  select tgname || ' on ' || tgrelid::regclass from pg_trigger where not tgisinternal
	  union all
	  select conname || ' on ' || conrelid::regclass from pg_constraint
	  union all
	  select oid::regprocedure::text from pg_proc where pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
	  union all
	  select nspname from pg_namespace where nspname !~ '^pg_'
	) t`

func TestQuill_LeavesNoTraceAndComesAgain(t *testing.T) {
	s := newScene(t)
	before := query[[]string](s, everything)
	s.start(1)
	first := s.write(letter{})
	s.arrived(toad, first)
	s.settled(toad)
	s.halt()
	if text, code := s.command("migrate", "--down", "--yes"); code != 2 || !strings.Contains(text, "--source FOLDER/quill") {
		t.Errorf("without its folder migrate --down ends with %d: %s", code, text)
	}
	s.must("migrate", "--down", "--yes", "--source", folder)
	if after := query[[]string](s, everything); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	s.write(letter{}) // to nobody: no sender knows of it
	s.must("migrate", "--source", folder)
	s.start(1)
	second := s.write(letter{})
	s.arrived(toad, first, second)
}
