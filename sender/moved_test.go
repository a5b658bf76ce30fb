package sender

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// guarded makes an instance that has got one activity, on a source whose cursors another program might move.
func (b *bench) guarded(domain string) (id int32, activity int64) {
	b.t.Helper()
	id = b.instance(domain)
	b.reopen(map[string]string{"stops_on_moved_cursor": "true"})
	b.read()
	if err := b.Acquired(b.t.Context(), []int32{id}); err != nil {
		b.t.Fatal(err)
	}
	activity = b.activity()
	b.deliver(id, activity)
	b.saved()
	return id, activity
}

// deliver reads until the last of all that was sent to an instance is the activity.
func (b *bench) deliver(id int32, activity int64) {
	b.t.Helper()
	b.read()
	b.until("it is sent and settled", func() bool {
		got, settled := b.got(id), false
		b.dispatcher.change([]int32{id}, func(s *slot, _ time.Time) { settled = s.worker.Cursor() >= activity })
		return settled && len(got) > 0 && got[len(got)-1] == activity
	})
}

func (b *bench) foreign(id int32, cursor int64) {
	b.t.Helper()
	b.exec(`update fedsender.queue_state set last_successful_id = $2 where instance_id = $1`, id, cursor)
}

// control is what stands in the database of an instance.
func (b *bench) control(id int32) (paused bool, note, lastError string, cursor int64) {
	b.t.Helper()
	err := b.pool.QueryRow(b.t.Context(), `
		select coalesce(c.paused_until = 'infinity', false), coalesce(c.note, ''), coalesce(h.last_error, ''), q.last_successful_id
		from fedsender.queue_state q
		left join fedsender.instance_control c using (instance_id)
		left join fedsender.instance_health h using (instance_id)
		where q.instance_id = $1`, id).Scan(&paused, &note, &lastError, &cursor)
	if err != nil {
		b.t.Fatal(err)
	}
	return paused, note, lastError, cursor
}

func TestMoved_InstanceWhoseCursorAnotherProgramMovesIsLeftAloneUntilItIsResumed(t *testing.T) {
	b := newBench(t)
	id, first := b.guarded("a.example")
	second := b.activity()
	b.deliver(id, second)
	b.foreign(id, 0)
	b.saved()
	paused, note, lastError, cursor := b.control(id)
	want := fmt.Sprintf("its cursor was moved by another program (from %d to 0): is the application's own sender still running? Stop it, then: sender resume a.example", first)
	if !paused || note != want || lastError != want || cursor != 0 {
		t.Errorf("paused: %t; note: %q; last error: %q; cursor: %d", paused, note, lastError, cursor)
	}
	third := b.activity()
	b.read()
	b.saved()
	if got := b.got(id); !slices.Equal(got, []int64{first, second}) {
		t.Errorf("sent although it is paused: %d", got)
	}
	if _, _, _, cursor = b.control(id); cursor != 0 {
		t.Errorf("the cursor was written: %d", cursor)
	}
	if said := b.scrape("fedsender_cursors_moved_total"); said != "1" {
		t.Errorf("the metric counts %s, want 1", said)
	}

	b.foreign(id, third)
	fourth := b.activity()
	b.exec(`select fedsender.resume('a.example')`)
	b.read()
	b.beside(func() { (&catchup{engine: b.engine}).run(t.Context()) })
	b.until("it goes on from where the cursor is", func() bool { return slices.Equal(b.got(id), []int64{first, second, fourth}) })
	b.saved()
	if paused, _, _, cursor := b.control(id); paused || cursor != fourth {
		t.Errorf("paused again: %t; cursor at %d, want %d", paused, cursor, fourth)
	}
}

// scrape is the value of a metric without labels.
func (b *bench) scrape(name string) string {
	answer := httptest.NewRecorder()
	b.metrics.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return "nothing"
}

func TestMoved_OperatorsReplayThatTheHeadHasNotReadYetIsNoStray(t *testing.T) {
	b := newBench(t)
	id, _ := b.guarded("a.example")
	b.deliver(id, b.activity())
	b.exec(`select fedsender.replay('a.example', '-infinity')`)
	b.saved()
	if paused, note, _, _ := b.control(id); paused {
		t.Errorf("paused: %s", note)
	}
}

func TestMoved_AnOlderReplayExcusesNoOtherProgram(t *testing.T) {
	b := newBench(t)
	id, _ := b.guarded("a.example")
	b.exec(`select fedsender.skip_to_latest('a.example')`)
	b.read()
	b.deliver(id, b.activity())
	b.foreign(id, 0)
	b.saved()
	if paused, _, _, _ := b.control(id); !paused {
		t.Error("it is not paused")
	}
}

func TestMoved_CursorThatThisProcessSavedAfterItWasReadIsNoStray(t *testing.T) {
	b := newBench(t)
	id, _ := b.guarded("a.example")
	left := b.dispatcher.savedCursors([]int32{id})
	states, err := pg.ReadQueueStates(t.Context(), b.pool, []int32{id})
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(id, b.activity())
	b.saved()
	if strays := b.dispatcher.stopStrays(states, left, nil); len(strays) > 0 {
		t.Errorf("taken for moved by another program: %+v", strays)
	}
}

func TestMoved_IsFoundWhenEverythingIsLoadedAnew(t *testing.T) {
	b := newBench(t)
	id, _ := b.guarded("a.example")
	b.foreign(id, 0)
	b.exec(`insert into fedsender.change (kind) values ('followers')`)
	b.read()
	if paused, _, _, _ := b.control(id); !paused {
		t.Error("it is not paused")
	}
}

func TestMoved_IsFoundWhenTheInstanceIsGivenUp(t *testing.T) {
	b := newBench(t)
	id, _ := b.guarded("a.example")
	b.deliver(id, b.activity())
	b.foreign(id, 0)
	b.inSession(func() {
		if err := b.Release(t.Context(), []int32{id}, func([]int32) {}); err != nil {
			t.Error(err)
		}
	})
	if paused, _, _, _ := b.control(id); !paused {
		t.Error("it is not paused")
	}
}

func TestMoved_StateThatWasReadBeforeAnOperatorsMoveIsNotBegunWith(t *testing.T) {
	b := newBench(t)
	id, held := b.holding("a.example")
	end := b.stall()
	b.beside(func() {
		if err := b.Acquired(t.Context(), []int32{id}); err != nil {
			t.Error(err)
		}
	})
	b.stalled()
	b.exec(`select fedsender.move_cursor($1, $2)`, id, held)
	b.dispatcher.forgetCursors([]int32{id}) // as the head does
	end()
	b.until("the instance is held", func() bool { return len(b.dispatcher.held()) > 0 })
	b.dispatcher.change([]int32{id}, func(s *slot, _ time.Time) {
		if s.savedCursor != held {
			t.Errorf("it begins at %d, want %d", s.savedCursor, held)
		}
	})
}
