package page

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
)

// targetsShown is how many instances a trace names, those first that have not got the activity.
const targetsShown = 200

// tracing is where one activity stands.
type tracing struct {
	APID    string // as it was asked for; empty: nothing was
	Found   bool
	Trace   pg.Trace
	Settled int
	Waiting []tile // of those that have not got it, by state
	Rows    []traceRow
	More    int
}

// traceRow is one instance that should have it.
type traceRow struct {
	pg.TraceTarget
	Has    string // settled, given up, sent again, or waits
	Letter *pg.DeadLetter
}

func (p *Page) trace(ctx context.Context, r *http.Request) (any, error) {
	t := &tracing{APID: strings.TrimSpace(r.URL.Query().Get("id"))}
	if t.APID == "" {
		return t, nil
	}
	wait, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	done, ok := take(wait, p.traces)
	if !ok {
		return nil, busyError("Others trace at this moment. Try again in a few seconds.")
	}
	defer done()
	if err := p.LockReads.Wait(wait); err != nil {
		return nil, busyError("The locks of the database are read too often at this moment. Try again in a few seconds.")
	}
	err := p.reading(ctx, func(ctx context.Context, q pg.Querier) (err error) {
		t.Trace, err = pg.TraceActivity(ctx, q, t.APID)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.Found = true
	t.fill()
	return t, nil
}

func (t *tracing) fill() {
	letters := map[string]*pg.DeadLetter{}
	for i := range t.Trace.DeadLetters {
		if l := &t.Trace.DeadLetters[i]; l.Domain != "" {
			letters[l.Domain] = l
		}
	}
	waiting := map[string]int{}
	for _, target := range t.Trace.Targets {
		row := traceRow{TraceTarget: target, Has: "waits", Letter: letters[target.Domain]}
		switch {
		case row.Letter != nil:
			row.Has = "given up"
		case target.Settled:
			row.Has = "settled"
			t.Settled++
		default:
			waiting[target.State]++
			if !target.AgainSince.IsZero() {
				row.Has = "sent again"
			}
		}
		if len(t.Rows) < targetsShown {
			t.Rows = append(t.Rows, row)
		}
	}
	t.More = len(t.Trace.Targets) - len(t.Rows)
	for _, state := range states {
		if n := waiting[state]; n > 0 {
			t.Waiting = append(t.Waiting, tile{state, n})
		}
	}
}

// Unplaced are dead letters of this activity that are for no instance: nobody gets it, or an inbox names no server.
func (t *tracing) Unplaced() (letters []pg.DeadLetter) {
	for _, l := range t.Trace.DeadLetters {
		if l.Domain == "" {
			letters = append(letters, l)
		}
	}
	return letters
}
