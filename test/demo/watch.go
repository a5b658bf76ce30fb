package demo

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

const (
	lookEvery = 250 * time.Millisecond
	// troublesEvery is how often senders write what the view of troubles reads.
	troublesEvery = time.Second
	// lineEvery is how often there is a line where nothing can be drawn.
	lineEvery = 2 * time.Second
	askWithin = time.Second
)

// watch looks at everything that goes on and draws it.
type watch struct {
	screen  *screen
	db      *pgxpool.Pool
	ledger  *fediverse.Ledger
	stream  *stream
	senders []*fleet.Sender
	client  *http.Client

	mu     sync.Mutex
	killed map[*fleet.Sender]bool

	// What follows belongs to the goroutine of run.
	last       view
	troublesAt time.Time
	lineAt     time.Time
}

// view is what is known at one moment.
type view struct {
	at        time.Time
	senders   []senderView
	counts    counts
	delivered int
	perSecond float64
	troubles  []trouble
}

type senderView struct {
	name                        string
	ended                       bool
	leases, inFlight, delivered int
}

// trouble is a server that is waited for, as fedsender.retry_schedule has it.
type trouble struct {
	domain, problem string
	status          int // of HTTP; 0: no answer
	in              time.Duration
	behind          int64
}

func newWatch(d *demo) *watch {
	return &watch{
		screen: d.screen, db: d.cluster.DB, ledger: d.cluster.Fedi.Ledger(), stream: d.stream, senders: d.senders,
		client: &http.Client{Timeout: askWithin}, killed: map[*fleet.Sender]bool{},
	}
}

func (w *watch) close() { w.client.CloseIdleConnections() }

// expectEnd says that a sender is about to be killed.
func (w *watch) expectEnd(s *fleet.Sender) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed[s] = true
}

// run draws until ctx ends, and fails when a sender ends that nobody ended or the database does not answer.
func (w *watch) run(ctx context.Context, fail func(error)) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		v, err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			fail(err)
			return
		}
		w.show(v)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *watch) show(v view) {
	if w.screen.live {
		w.screen.draw(picture(v))
	} else if v.at.Sub(w.lineAt) >= lineEvery {
		w.lineAt = v.at
		w.screen.event("%s", line(v))
	}
}

func (w *watch) look(ctx context.Context) (view, error) {
	v := view{at: time.Now(), counts: w.stream.count(), delivered: w.ledger.Accepted("") - len(w.ledger.Duplicates(""))}
	leases, err := w.leases(ctx)
	if err != nil {
		return v, err
	}
	delivered := w.ledger.ByProcess()
	for _, s := range w.senders {
		seen := senderView{name: s.Name, leases: leases[s.Name], delivered: delivered[s.Name]}
		if seen.ended, err = w.hasEnded(s); err != nil {
			return v, err
		}
		if !seen.ended {
			seen.inFlight = w.inFlight(ctx, s)
		}
		v.senders = append(v.senders, seen)
	}
	v.troubles = w.last.troubles
	if v.at.Sub(w.troublesAt) >= troublesEvery {
		w.troublesAt = v.at
		if v.troubles, err = w.readTroubles(ctx); err != nil {
			return v, err
		}
	}
	if w.last.at.IsZero() {
		w.last = v
		return v, nil
	}
	// A quarter of a second alone would flicker.
	const weight = .3
	now := float64(max(0, v.delivered-w.last.delivered)) / v.at.Sub(w.last.at).Seconds()
	v.perSecond = w.last.perSecond + weight*(now-w.last.perSecond)
	w.last = v
	return v, nil
}

func (w *watch) hasEnded(s *fleet.Sender) (bool, error) {
	select {
	case <-s.Ended():
	default:
		return false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.killed[s] {
		lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
		return true, fmt.Errorf("%s ended by itself; the last that it logged: %s", s.Name, lines[len(lines)-1])
	}
	return true, nil
}

// leases says how many servers each sender holds, by the locks themselves.
func (w *watch) leases(ctx context.Context) (map[string]int, error) {
	rows, err := w.db.Query(ctx, `select coalesce(holder, ''), count(*) from fedsender.lease group by 1`)
	if err != nil {
		return nil, fmt.Errorf("look at the leases: %w", err)
	}
	held := map[string]int{}
	var name string
	var number int
	_, err = pgx.ForEachRow(rows, []any{&name, &number}, func() error {
		held[name] = number
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the leases: %w", err)
	}
	return held, nil
}

const readTroubles = `
	select domain, coalesce(last_error, ''), coalesce(last_http_status, 0), extract(epoch from next_retry_in)::float8, ids_behind
	from fedsender.retry_schedule
	where ids_behind > 0
	order by ids_behind desc, domain`

func (w *watch) readTroubles(ctx context.Context) ([]trouble, error) {
	rows, err := w.db.Query(ctx, readTroubles)
	if err == nil {
		var found []trouble
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t trouble, err error) {
			var in float64
			err = row.Scan(&t.domain, &t.problem, &t.status, &in, &t.behind)
			t.in = time.Duration(in * float64(time.Second))
			return t, err
		})
		if err == nil {
			return found, nil
		}
	}
	return nil, fmt.Errorf("look at the servers that are waited for: %w", err)
}

// inFlight is what the sender's metrics say; 0 when it does not answer, which a busy machine may cause.
func (w *watch) inFlight(ctx context.Context, s *fleet.Sender) int {
	address, err := s.Admin(ctx)
	if err != nil {
		return 0
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0
	}
	response, err := w.client.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it is wanted
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "fedsender_in_flight "); ok {
			number, _ := strconv.ParseFloat(text, 64)
			return int(number)
		}
	}
	return 0
}
